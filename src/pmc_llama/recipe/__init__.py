"""The recipe: one YAML file that is the whole experiment, typed, and what each of its fields affects.

Begin reading at `recipe.py` (the types), `effects.py` (what a field affects) and `loading.py` (reading a file).
"""

from pmc_llama.recipe.loading import load_recipe, parse_recipe
from pmc_llama.recipe.recipe import NAME, RESERVED, DataSection, Recipe

__all__ = ["NAME", "RESERVED", "DataSection", "Recipe", "load_recipe", "parse_recipe"]
