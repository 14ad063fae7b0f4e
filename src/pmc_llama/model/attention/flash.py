"""Backend of GPUs: torch's variable-length attention (flash kernels), which knows documents by their bounds."""

from inspect import signature
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

SEQLENS_MULTIPLE = 64
_FEWER_KV_HEADS: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in signature(varlen_attn).parameters else {}
"""torch 2.11 shares key and value heads without being told to."""


class Flash:
    """`prepare` gives [documents + 1] int32 bounds, padded with documents of no length to a multiple of 64."""

    name = "flash"
    dtypes = frozenset({torch.bfloat16, torch.float16})
    saved_ops: frozenset[Any] = frozenset({torch.ops.torch_attn._varlen_attn.default})

    def runs_on(self, device: torch.device) -> bool:
        """On CUDA."""
        return device.type == "cuda"

    def prepare(self, starts: NDArray[np.intp], lengths: NDArray[np.intp], device: torch.device) -> Tensor:
        """See Backend."""
        room = -(-(len(starts) + 1) // SEQLENS_MULTIPLE) * SEQLENS_MULTIPLE
        bounds = np.full(room, lengths.sum(), dtype=np.int32)
        bounds[: len(starts)] = starts
        tensor = torch.from_numpy(bounds)
        return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        layout: Tensor,
        row_length: int,
        scale: float,
        window: int | None,
    ) -> Tensor:
        """See Backend."""
        batch, heads, length, width = query.shape
        q, k, v = (x.transpose(1, 2).reshape(batch * length, -1, width) for x in (query, key, value))
        sees = (-1 if window is None else window - 1, 0)  # positions to the left and to the right
        out = varlen_attn(
            q, k, v, layout, layout, row_length, row_length, scale=scale, window_size=sees, **_FEWER_KV_HEADS
        )
        return cast(Tensor, out).view(batch, length, heads, width)

    def activation_bytes(self, queries: int, keys: int, heads: int, length: int) -> float:
        """Queries, keys, values, and a log-sum-exp in fp32 for each head."""
        return 2.0 * (queries + 2 * keys) + 4 * heads


FLASH = Flash()
