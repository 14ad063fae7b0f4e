"""The form that the code has on GPUs, on a CPU: documents as bounds, and CPU kernels for flash attention."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from pmc_llama.model.attention.flash import FLASH, Flash

CALLS = {"forward": 0, "backward": 0}


def _parts(bounds: Tensor) -> list[slice]:
    ends = bounds.tolist()
    return [slice(start, end) for start, end in pairwise(ends) if end > start]


def _probabilities(query: Tensor, key: Tensor, scale: float, left: int) -> tuple[Tensor, Tensor]:
    """Softmax [H, T, T] of one document's scores, and their log-sum-exp [H, T]; query [T, H, D], key [T, H, D]."""
    scores = torch.einsum("qhd,khd->hqk", query, key) * scale
    length = len(query)
    back = torch.arange(length)[:, None] - torch.arange(length)
    hidden = (back < 0) | (back > left if left >= 0 else torch.zeros_like(back, dtype=torch.bool))
    scores = scores.masked_fill(hidden, float("-inf"))
    return scores.softmax(-1), scores.logsumexp(-1)


def _all_heads(values: Tensor, heads: int) -> Tensor:
    return values.repeat_interleave(heads // values.shape[1], 1).float()


def _forward(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, _bounds_k: Tensor, longest: int, _longest_k: int,
    dropout: float, causal: bool, _mask: bool, *, scale: float | None = None, window_size_left: int | None = None,
    window_size_right: int | None = None, **_more: Any,
) -> tuple[Tensor, ...]:  # fmt: skip
    assert dropout == 0 and (causal or window_size_right == 0) and bounds.dtype == torch.int32 and query.ndim == 3
    CALLS["forward"] += 1
    out, sums = torch.full_like(query, float("nan")), torch.full((query.shape[1], len(query)), float("nan"))
    left, heads = -1 if window_size_left is None else window_size_left, query.shape[1]
    for part in _parts(bounds):
        assert part.stop - part.start <= longest
        q, k, v = query[part].float(), _all_heads(key[part], heads), _all_heads(value[part], heads)
        p, sums[:, part] = _probabilities(q, k, scale or query.shape[-1] ** -0.5, left)
        out[part] = torch.einsum("hqk,khd->qhd", p, v).to(query.dtype)
    return out, sums, torch.empty(2, dtype=torch.uint64), torch.empty(0), torch.empty(0)


def _backward(
    d_out: Tensor, query: Tensor, key: Tensor, value: Tensor, _out: Tensor, _sums: Tensor, bounds: Tensor,
    _bounds_k: Tensor, _longest: int, _longest_k: int, _dropout: float, _causal: bool, _seed: Tensor, _offset: Tensor,
    *, scale: float | None = None, window_size_left: int | None = None, window_size_right: int | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    CALLS["backward"] += 1
    d_query, d_key, d_value = (torch.empty_like(one) for one in (query, key, value))
    left, heads, shared = -1 if window_size_left is None else window_size_left, query.shape[1], key.shape[1]
    factor = scale or query.shape[-1] ** -0.5
    for part in _parts(bounds):
        q, k, v = query[part].float(), _all_heads(key[part], heads), _all_heads(value[part], heads)
        d, (p, _) = d_out[part].float(), _probabilities(q, k, factor, left)
        d_p = torch.einsum("qhd,khd->hqk", d, v)
        d_scores = p * (d_p - (d_p * p).sum(-1, keepdim=True)) * factor
        found = torch.einsum("hqk,khd->qhd", d_scores, k)
        of_key, of_value = torch.einsum("hqk,qhd->khd", d_scores, q), torch.einsum("hqk,qhd->khd", p, d)
        d_query[part] = found.to(query.dtype)
        for whole, into in ((of_key, d_key), (of_value, d_value)):
            into[part] = whole.unflatten(1, (shared, -1)).sum(2).to(into.dtype)
    return d_query, d_key, d_value


LIBRARY = torch.library.Library("aten", "IMPL")
LIBRARY.impl("_flash_attention_forward", _forward, "CPU")
LIBRARY.impl("_flash_attention_backward", _backward, "CPU")


@contextmanager
def as_on_gpus() -> Iterator[dict[str, int]]:
    """Within it, CPUs take the backend of GPUs, also in fp32; gives the numbers of calls of its operators."""
    CALLS.update(forward=0, backward=0)
    formats = FLASH.dtypes | {torch.float32}
    with mock.patch.object(Flash, "runs_on", lambda *_: True), mock.patch.object(Flash, "dtypes", formats):
        yield CALLS
