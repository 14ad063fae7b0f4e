"""Causal attention inside each packed document: no mask, and no work on pairs of tokens that do not see each other.

`documents` says where documents lie, `interface` is what models call and chooses a backend, and each backend is a file.
"""

from pmc_llama.model.attention.documents import Documents
from pmc_llama.model.attention.interface import NAME, attend

__all__ = ["NAME", "Documents", "attend"]
