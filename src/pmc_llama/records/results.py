"""x"""
from pmc_llama.files import read_json
def read_results(p): return read_json(p)

