"""The forward pass of scoring: rows that branch after their context, behind a beginning that is computed once."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import torch
from torch import Tensor
from torch.nn import functional as F

from pmc_llama.train.memory import keep_freed_memory

_PLACES_AT_ONCE = 1024
"""Positions projected onto the vocabulary at a time, which bounds the fp32 logits."""


class Branch(msgspec.Struct, frozen=True):
    """One option's continuation after a row's context."""

    option: int
    ids: list[int]


class Row(msgspec.Struct, frozen=True):
    """A context and the continuations that share it."""

    item: int
    context: list[int]
    branches: list[Branch]

    @property
    def length(self) -> int:
        """Tokens that the model reads: the last of each continuation is predicted only."""
        return len(self.context) + sum(len(branch.ids) - 1 for branch in self.branches)

    @property
    def deepest(self) -> int:
        """Tokens that the last position of the longest branch sees, itself included."""
        return len(self.context) + max(len(branch.ids) - 1 for branch in self.branches)


class Value(msgspec.Struct, frozen=True):
    """What the model makes of one continuation."""

    logprob: float
    greedy: bool
    """Whether each of its tokens is the likeliest one."""


class _Laid(msgspec.Struct, frozen=True):
    """A batch of rows as tensors."""

    ids: Tensor  # [B, T]
    positions: Tensor  # [B, T]
    branch: Tensor  # [B, T], 0 = context or padding, k = k-th branch
    place: Tensor  # [N] flat position that predicts a scored token, ascending
    target: Tensor  # [N] the token
    owner: Tensor  # [N] which continuation of the batch it belongs to


def score_rows(model: Any, batches: Iterable[list[Row]], shared: Sequence[int]) -> Iterator[tuple[Row, list[Value]]]:
    """Each row with the values of its branches, batch after batch. All contexts begin with `shared`."""
    if model.device.type == "cpu":
        keep_freed_memory()
    prefix, head, last = _Prefix(model, shared), _Head(model), _LastLayer(model)
    for rows in batches:
        laid = _lay(rows, len(shared), model.device)
        with last.only_at(torch.unique_consecutive(laid.place)):
            hidden = prefix.hidden(laid)  # [B, T, D], right where a token is scored
        logprob, likeliest = head.read(hidden.flatten(0, 1), laid)  # [N], [N]
        sums = torch.zeros(2, sum(len(row.branches) for row in rows), dtype=torch.float64, device=logprob.device)
        sums.index_add_(1, laid.owner, torch.stack([logprob, (~likeliest).float()]).double())
        values = iter([Value(total, missed == 0) for total, missed in zip(*sums.tolist(), strict=True)])
        for row in rows:
            yield row, [next(values) for _ in row.branches]


class _LastLayer:
    """The last decoder layer's MLP, which runs only where somebody reads its result: where a token is scored."""

    def __init__(self, model: Any) -> None:
        layers = getattr(model.base_model, "layers", None)
        self._mlp = getattr(layers[-1], "mlp", None) if layers else None

    @contextmanager
    def only_at(self, places: Tensor) -> Iterator[None]:
        """Within it, the MLP gives nothing but at the flat positions `places` [N] of the batch."""
        if self._mlp is None:  # an architecture with other names: it runs everywhere
            yield
            return
        whole = self._mlp.forward

        def forward(hidden: Tensor) -> Tensor:  # [B, T, D]
            result = torch.zeros_like(hidden)
            result.flatten(0, 1)[places] = whole(hidden.flatten(0, 1)[places][None])[0]
            return result

        self._mlp.forward = forward
        try:
            yield
        finally:
            del self._mlp.forward  # the class' own again


class _Prefix:
    """The model behind tokens that every row begins with; their keys and values are computed once."""

    def __init__(self, model: Any, ids: Sequence[int]) -> None:
        self.backbone, self.length = model.base_model, len(ids)
        self._layers: list[tuple[Tensor, Tensor]] = []  # [1, heads, P, head_dim] each
        if ids:
            read = self.backbone(torch.tensor([list(ids)], device=model.device), use_cache=True)
            self._layers = [(layer.keys, layer.values) for layer in read.past_key_values.layers]

    def hidden(self, laid: _Laid) -> Tensor:
        """Final hidden states [B, T, D] of a batch."""
        branched = bool(laid.branch.any())
        if not branched and not self.length:  # plain causal rows, padded on the right: no mask needed
            return self.backbone(laid.ids, use_cache=False).last_hidden_state  # type: ignore[no-any-return]
        output = self.backbone(
            laid.ids,
            position_ids=laid.positions,
            attention_mask=self._mask(laid.branch, branched),
            past_key_values=self._cache(len(laid.ids)),
            use_cache=self.length > 0,
        )
        return output.last_hidden_state  # type: ignore[no-any-return]

    def _mask(self, branch: Tensor, branched: bool) -> Tensor:
        """Who sees whom, bool [B or 1, 1, T, P + T]: all see the prefix; branches see the context and themselves."""
        length = branch.shape[1]
        sees = torch.ones(length, length, dtype=torch.bool, device=branch.device).tril()[None]
        if branched:
            sees = sees & ((branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None]))
        return F.pad(sees, (self.length, 0), value=True)[:, None]

    def _cache(self, rows: int) -> Any:
        if not self.length:
            return None
        from transformers import DynamicCache

        cache = DynamicCache()
        for i, (keys, values) in enumerate(self._layers):
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), i)
        return cache


def _lay(rows: Sequence[Row], skip: int, device: torch.device) -> _Laid:
    """Lay rows out as tensors, without their first `skip` tokens."""
    length = max(row.length for row in rows) - skip
    ids, positions, branch = (torch.zeros(len(rows), length, dtype=torch.long) for _ in range(3))
    places: list[tuple[int, int, int]] = []
    owner = 0
    for i, row in enumerate(rows):
        end = len(row.context) - skip
        tokens, marks, at = row.context[skip:], [0] * end, list(range(skip, len(row.context)))
        last_of_context = i * length + end - 1
        for mark, one in enumerate(row.branches, 1):
            inner = [i * length + len(tokens) + j for j in range(len(one.ids) - 1)]
            places += [(place, token, owner) for place, token in zip([last_of_context, *inner], one.ids, strict=True)]
            owner += 1
            tokens += one.ids[:-1]
            marks += [mark] * (len(one.ids) - 1)
            at += range(len(row.context), len(row.context) + len(one.ids) - 1)
        size = len(tokens)
        ids[i, :size], branch[i, :size] = torch.tensor(tokens), torch.tensor(marks)
        positions[i, :size] = torch.tensor(at)
    place, target, owners = torch.tensor(sorted(places)).unbind(1)
    return _Laid(*(one.to(device) for one in (ids, positions, branch, place, target, owners)))


class _Head:
    """The projection onto the vocabulary in the model's precision; what is scored, and the log-softmax, in fp32."""

    def __init__(self, model: Any) -> None:
        layer = model.get_output_embeddings()
        self._weight, self._bias = layer.weight, layer.bias  # [V, D], [V] or None

    def read(self, hidden: Tensor, laid: _Laid) -> tuple[Tensor, Tensor]:
        """Log-probability of each scored token [N] and whether it is the likeliest, from hidden states [B·T, D]."""
        places, which = torch.unique_consecutive(laid.place, return_inverse=True)  # first tokens of options share one
        logprobs, likeliest = [], []
        for start in range(0, len(places), _PLACES_AT_ONCE):
            end = start + _PLACES_AT_ONCE
            low, high = torch.searchsorted(which, torch.tensor([start, end], device=which.device)).tolist()
            local, target = which[low:high] - start, laid.target[low:high]
            logits = self._logits(hidden[places[start:end]], local, target)  # [C, V]
            picked = logits[local, target]
            top = logits.amax(-1)
            likeliest.append(picked >= top[local])
            rest = logits.sub_(top[:, None]).exp_().sum(-1).log_()  # log-sum-exp, in place
            logprobs.append(picked - (top + rest)[local])
        return torch.cat(logprobs), torch.cat(likeliest)

    def _logits(self, hidden: Tensor, local: Tensor, target: Tensor) -> Tensor:
        """Logits [C, V] in fp32; `target` [N] at the rows `local` [N] is computed in fp32, too.

        In bf16 a logit of 16 is a multiple of 1/8, so that options would often tie that do not. The others only add up.
        """
        logits = F.linear(hidden, self._weight, self._bias)
        if logits.dtype == torch.float32:
            return logits
        logits = logits.float()
        exact = torch.linalg.vecdot(hidden.float()[local], self._weight[target].float())
        logits[local, target] = exact if self._bias is None else exact + self._bias[target].float()
        return logits
