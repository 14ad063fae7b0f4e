"""What a backend of attention is: one file of this folder, named in `interface`."""

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Backend(Protocol):
    """One way to compute attention inside documents."""

    name: str
    dtypes: frozenset[torch.dtype]
    """Formats of queries, keys and values that it multiplies."""
    saved_ops: frozenset[Any]
    """Operators whose results selective recomputation keeps, as they are dear to compute again."""

    def runs_on(self, device: torch.device) -> bool:
        """Whether the device has what it needs."""

    def prepare(self, starts: NDArray[np.intp], lengths: NDArray[np.intp], device: torch.device) -> Any:
        """Its layout of documents that begin at flat positions `starts` [N] and have `lengths` [N] tokens."""

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, layout: Any, row_length: int, scale: float, window: int | None
    ) -> Tensor:
        """query [B, H, T, D], key and value [B, KV, T, D] -> [B, T, H, D].

        `layout` is what `prepare` made of these B rows of `row_length` positions; with a `window`, a query sees that
        many keys, itself included.
        """

    def activation_bytes(self, queries: int, keys: int, heads: int, length: int) -> float:
        """Bytes in bf16 that it keeps of each token for backward, its result not counted.

        `queries` and `keys` are H·D and KV·D, `length` the tokens of the document.
        """
