"""Causal attention inside each packed document: no mask, and no work on pairs of tokens that do not see each other.

On CUDA it is torch's variable-length attention (flash kernels). On CPUs it is batched matrix products over documents
of like length, which use the processor's bf16 units; torch's own CPU attention kernel takes 1.5 times as long for one
document a row, and, with a mask over the whole row, ten times as long for many short ones (docs/performance.md).
"""

from dataclasses import dataclass
from functools import lru_cache
from inspect import signature
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

from pmc_llama.errors import RecipeError

NAME = "documents"
TILE = 256
"""Queries of a long document attended at a time on CPUs: keys after them are left out."""
LENGTH_RATIO, LENGTH_STEP = 1.3, 16
"""Documents are padded to the next of a series of lengths with this ratio: at most 1.7 times the pairs, few groups."""
SEQLENS_MULTIPLE = 64
_NO_MATTER = {"position_ids", "cache_position", "use_cache", "output_attentions", "output_hidden_states", "is_causal"}
_NO_MATTER |= {"position_embeddings", "logits_to_keep", "return_dict", "output_router_logits"}
"""What models hand through to attention without meaning that it do something else."""
_FEWER_KV_HEADS: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in signature(varlen_attn).parameters else {}
"""torch 2.11 shares key and value heads without being told to."""


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
        kept = torch.zeros(len(self.flat), dtype=values.dtype)
        kept[self.real] = 1
        kept = kept.view(-1, 1, self.length, 1)
        return (values.view(len(kept), -1, self.length, values.shape[-1]) * kept).view_as(values)


@dataclass(frozen=True)
class Documents:
    """Where the documents packed into [B, T] positions lie, for the device's kind of attention."""

    longest: int
    groups: tuple[_Group, ...] = ()  # CPU
    cu_seqlens: Tensor | None = None  # CUDA: [documents + 1] int32, padded with documents of no length
    row_length: int = 0
    asked: list[str] | None = None
    """Where given, nothing is computed: the attention modules that ask are listed (on the meta device)."""

    @classmethod
    def of(cls, position_ids: NDArray[np.int64], device: torch.device) -> Self:
        """A document starts at each row's start and wherever `position_ids` [B, T] does not go on by one."""
        new = np.ones(position_ids.shape, dtype=bool)
        new[:, 1:] = np.diff(position_ids, axis=1) != 1
        starts = np.flatnonzero(new)
        lengths = np.diff(np.append(starts, new.size))
        longest = int(lengths.max(initial=0))
        if device.type != "cuda":
            return cls(longest, groups=_group(starts, lengths))
        room = -(-(len(starts) + 1) // SEQLENS_MULTIPLE) * SEQLENS_MULTIPLE
        bounds = np.full(room, new.size, dtype=np.int32)
        bounds[: len(starts)] = starts
        cu_seqlens = torch.from_numpy(bounds).pin_memory().to(device, non_blocking=True)
        return cls(longest, cu_seqlens=cu_seqlens, row_length=position_ids.shape[1])


def _group(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[_Group, ...]:
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
                None if everything else torch.from_numpy(flat.ravel()),
                None if real.all() else torch.from_numpy(np.flatnonzero(real)),
            )
        )
    return tuple(groups)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    documents: Documents | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: query [B, H, T, D], key and value [B, KV, T, D] -> [B, T, H, D].

    Raises RecipeError for what it does not do (dropout, soft-capped scores, attention sinks, masks, another width of
    values), by its name.
    """
    if documents is None:
        raise RecipeError(f"{type(module).__name__} is not told by its model where packed documents lie")
    beyond = sorted(name for name, item in more.items() if name not in _NO_MATTER and item is not None)
    beyond += ["dropout"] if dropout else []
    beyond += ["no causal mask"] if getattr(module, "is_causal", True) is False else []
    beyond += ["another width of values"] if value.shape[-1] != query.shape[-1] else []
    if query.shape[1] % key.shape[1]:
        beyond += [f"{query.shape[1]} heads over {key.shape[1]} heads of keys and values"]
    if beyond:
        raise RecipeError(f"{type(module).__name__}: its attention has {beyond[0]}, which training does not know of")
    if documents.asked is not None:
        documents.asked.append(type(module).__name__)
        return query.new_empty(query.shape).transpose(1, 2), None
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    window = sliding_window if sliding_window is not None and sliding_window < documents.longest else None
    if documents.cu_seqlens is not None:
        return _attend_cuda(query, key, value, documents, scale, window), None
    return _attend_cpu(query, key, value, documents, scale, window), None


def _attend_cuda(
    query: Tensor, key: Tensor, value: Tensor, documents: Documents, scaling: float, window: int | None
) -> Tensor:
    batch, heads, length, width = query.shape
    q, k, v = (x.transpose(1, 2).reshape(batch * length, -1, width) for x in (query, key, value))
    bounds, longest = cast(Tensor, documents.cu_seqlens), documents.row_length
    sees = (-1 if window is None else window - 1, 0)  # positions to the left and to the right
    out = varlen_attn(q, k, v, bounds, bounds, longest, longest, scale=scaling, window_size=sees, **_FEWER_KV_HEADS)
    return cast(Tensor, out).view(batch, length, heads, width)


@torch.compiler.disable  # type: ignore[untyped-decorator]  # groups differ from step to step
def _attend_cpu(
    query: Tensor, key: Tensor, value: Tensor, documents: Documents, scaling: float, window: int | None
) -> Tensor:
    batch, heads, length, width = query.shape
    shared = heads // key.shape[1]
    if shared > 1:
        key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    q, k, v = (x.transpose(1, 2).reshape(batch * length, heads, width) for x in (query, key, value))
    out: Tensor = _PerDocument.apply(q, k, v, documents.groups, scaling, window)  # type: ignore[no-untyped-call]
    return out.view(batch, length, heads, width)


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
                    _visible(start - low, end - low, window, q.dtype),
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
def _visible(start: int, end: int, window: int | None, dtype: torch.dtype) -> Tensor:
    """What is added to the scores of queries start … end: minus infinity at keys that each does not see; [Q, end]."""
    hidden = torch.full((end - start, end), float("-inf"), dtype=dtype)
    after = hidden.triu(start + 1)
    return after if window is None else after + hidden.tril(start - window)


AttentionInterface.register(NAME, attend)
