"""Backend of CPUs, and of fp32 on GPUs: batched matrix products over documents of like length.

On CPUs they use the processor's bf16 units; torch's own attention kernel takes 1.5 times as long there for one document
a row, and, with a mask over the whole row, ten times as long for many short ones (docs/performance.md).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TILE = 256
"""Queries of a long document attended at a time: keys after them are left out."""
LENGTH_RATIO, LENGTH_STEP = 1.3, 16
"""Documents are padded to the next of a series of lengths with this ratio: at most 1.7 times the pairs, few groups."""


@dataclass(frozen=True)
class _Group:
    """Documents of like length: positions of all their tokens, the shorter ones padded with their first token."""

    length: int
    flat: Tensor | None  # [n * length]; None: all positions of the batch, in order
    real: Tensor | None  # positions in `flat` that are no padding; None: all

    def gather(self, values: Tensor) -> Tensor:
        """[B * T, H, D] -> [n * H, length, D]."""
        if self.flat is not None:
            values = values.index_select(0, self.flat)
        _, heads, width = values.shape
        return values.view(-1, self.length, heads, width).transpose(1, 2).reshape(-1, self.length, width)

    def scatter(self, values: Tensor, into: Tensor) -> None:
        """[n * H, length, D] -> the group's positions of [B * T, H, D]."""
        _, heads, width = into.shape
        values = values.view(-1, heads, self.length, width).transpose(1, 2).reshape(-1, heads, width)
        if self.flat is None:
            into.copy_(values)
        elif self.real is None:
            into.index_copy_(0, self.flat, values)
        else:
            into.index_copy_(0, self.flat[self.real], values.index_select(0, self.real))

    def drop_padding(self, values: Tensor) -> Tensor:
        """`values` [n * H, length, D] of a gather, zero where padded."""
        if self.real is None or self.flat is None:
            return values
        kept = torch.zeros(len(self.flat), dtype=values.dtype, device=values.device)
        kept[self.real] = 1
        kept = kept.view(-1, 1, self.length, 1)
        return (values.view(len(kept), -1, self.length, values.shape[-1]) * kept).view_as(values)


class Products:
    """`prepare` gives groups of documents of like length."""

    name = "products"
    dtypes = frozenset({torch.float32, torch.float64, torch.bfloat16, torch.float16})
    saved_ops: frozenset[Any] = frozenset()

    def runs_on(self, device: torch.device) -> bool:
        """Everywhere."""
        return True

    def prepare(self, starts: NDArray[np.intp], lengths: NDArray[np.intp], device: torch.device) -> tuple[_Group, ...]:
        """See Backend."""
        return _group(starts, lengths, device)

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # groups differ from step to step
    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        layout: tuple[_Group, ...],
        row_length: int,
        scale: float,
        window: int | None,
    ) -> Tensor:
        """See Backend."""
        batch, heads, length, width = query.shape
        shared = heads // key.shape[1]
        if shared > 1:
            key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
        q, k, v = (x.transpose(1, 2).reshape(batch * length, heads, width) for x in (query, key, value))
        out: Tensor = _PerDocument.apply(q, k, v, layout, scale, window)  # type: ignore[no-untyped-call]
        return out.view(batch, length, heads, width)

    def activation_bytes(self, queries: int, keys: int, heads: int, length: int) -> float:
        """Queries, keys and values with all heads, and the causal half of the probabilities, tile by tile."""
        return 2.0 * 3 * queries + heads * (length + TILE)


def _group(starts: NDArray[np.intp], lengths: NDArray[np.intp], device: torch.device) -> tuple[_Group, ...]:
    series = [LENGTH_STEP]
    while series[-1] < lengths.max(initial=0):
        series.append(-(-int(series[-1] * LENGTH_RATIO) // LENGTH_STEP) * LENGTH_STEP)
    step = np.searchsorted(series, lengths)
    groups = []
    for chosen in (step == value for value in np.unique(step)):
        length = int(lengths[chosen].max())
        offsets = np.arange(length)
        real = offsets < lengths[chosen][:, None]
        flat = np.where(real, starts[chosen][:, None] + offsets, starts[chosen][:, None])
        everything = flat.size == lengths.sum() and bool(real.all())
        groups.append(
            _Group(
                length,
                None if everything else torch.from_numpy(flat.ravel()).to(device),
                None if real.all() else torch.from_numpy(np.flatnonzero(real)).to(device),
            )
        )
    return tuple(groups)


class _PerDocument(torch.autograd.Function):
    """softmax(scale · Q Kᵀ, causal) V of every document, group by group, tile by tile; [B * T, H, D] each.

    With a `window`, a query sees that many keys, itself included.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        groups: tuple[_Group, ...],
        scale: float,
        window: int | None,
    ) -> Tensor:
        out = torch.empty_like(query)
        saved: list[Tensor] = []
        for group in groups:
            q, k, v = (group.gather(x) for x in (query, key, value))
            tiles = []
            for low, start, end in _tiles(group.length, window):
                scores = torch.baddbmm(
                    _visible(start - low, end - low, window, q.dtype, q.device),
                    q[:, start:end],
                    k[:, low:end].transpose(1, 2),
                    alpha=scale,
                )
                p = torch.softmax(scores, -1)  # [n * H, end - start, end - low]
                tiles.append(torch.bmm(p, v[:, low:end]))
                saved.append(p)
            group.scatter(tiles[0] if len(tiles) == 1 else torch.cat(tiles, 1), out)
            saved += [q, k, v]
        ctx.save_for_backward(*saved)
        ctx.groups, ctx.scale, ctx.window = groups, scale, window
        return out

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = iter(ctx.saved_tensors)
        d_query, d_key, d_value = (torch.empty_like(grad[0]) for _ in range(3))
        for group in ctx.groups:
            tiles = _tiles(group.length, ctx.window)
            products = [next(saved) for _ in tiles]
            q, k, v = next(saved), next(saved), next(saved)
            d_out = group.drop_padding(group.gather(grad[0]))
            dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
            for (low, start, end), p in zip(tiles, products, strict=True):
                d_part = d_out[:, start:end]
                dv[:, low:end] += torch.bmm(p.transpose(1, 2), d_part)
                d_p = torch.bmm(d_part, v[:, low:end].transpose(1, 2))
                d_scores = torch._softmax_backward_data(d_p, p, -1, p.dtype)
                dq[:, start:end] = torch.bmm(d_scores, k[:, low:end])
                dk[:, low:end] += torch.bmm(d_scores.transpose(1, 2), q[:, start:end])
            group.scatter(dq.mul_(ctx.scale), d_query)
            group.scatter(dk.mul_(ctx.scale), d_key)
            group.scatter(dv, d_value)
        return d_query, d_key, d_value, None, None, None


def _tiles(length: int, window: int | None) -> list[tuple[int, int, int]]:
    """(first key, first query, end of both) of each tile of a document."""
    return [
        (0 if window is None else max(0, start - window + 1), start, min(start + TILE, length))
        for start in range(0, length, TILE)
    ]


@lru_cache(maxsize=256)
def _visible(start: int, end: int, window: int | None, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What is added to the scores of queries start … end: minus infinity at keys that each does not see; [Q, end]."""
    hidden = torch.full((end - start, end), float("-inf"), dtype=dtype, device=device)
    after = hidden.triu(start + 1)
    return after if window is None else after + hidden.tril(start - window)


PRODUCTS = Products()
