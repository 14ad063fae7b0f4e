"""Scoring by transformers' plain forward pass, and the proof that the faster way of `forward.py` gives the same.

The faster way passes masks of its own, keeps keys and values, and projects hidden states itself. Sliding windows, RoPE
that depends on the input's length, recurrent layers, attention sinks and scaled or capped logits are lost on it. So an
architecture is looked at, a probe is scored both ways, and what differs is scored one input at a time.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import functional as F

from pmc_llama.model.accepted import carries_along, changed_logits, longest_with_fixed_positions, window_of
from pmc_llama.qa.forward import Branch, Row, Value, score_rows

ALL, NONE = 2**31, 0
_PROBE_SHARED, _PROBE_CONTEXTS, _PROBE_BRANCHES = 33, (37, 41, 49), (1, 3, 2)
"""Tokens that all rows of the probe begin with, of each row's context, and of each option."""
_SAME = {torch.float32: 2e-4, torch.float64: 2e-4}
_SAME_ROUNDED = 5e-2
"""How far log-likelihoods of the two ways may lie apart, as a share of 1 + their size; in fp32 and below.

Thirty layers in bf16 were seen to differ by 2.3 % on random tokens, from rounding alone.
"""
_COLUMNS_AT_ONCE = 8192
_known: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


def fast_up_to(model: Any) -> int:
    """The longest input, in tokens, that may be scored the faster way: `NONE` of them, `ALL`, or up to a bound.

    It is found once for each loaded model; where it is none, that is said.
    """
    if model not in _known:
        reason = _why_plain(model)
        if reason is not None:
            print(f"score: one input at a time ({type(model).__name__}: {reason})", flush=True)
        _known[model] = _bound(model.config) if reason is None else NONE
    return _known[model]


def plain_rows(model: Any, rows: Sequence[Row]) -> Iterator[tuple[Row, list[Value]]]:
    """Each row with the values of its branches: a forward pass without mask or cache for each option.

    Options of one token share theirs.
    """
    for row in rows:
        with _exact_projection(model):
            values = _plain_values(model, row)
        yield row, values


def _plain_values(model: Any, row: Row) -> list[Value]:
    if all(len(branch.ids) == 1 for branch in row.branches):
        logits = _logits(model, row.context, 1)  # [1, V]
        return [_value(logits, branch.ids) for branch in row.branches]
    inputs = [(row.context + branch.ids[:-1], branch.ids) for branch in row.branches]
    return [_value(_logits(model, read, len(ids)), ids) for read, ids in inputs]


def _bound(config: Any) -> int:
    found = [one for one in (window_of(config), longest_with_fixed_positions(config)) if one is not None]
    return min(found, default=ALL)


def _why_plain(model: Any) -> str | None:
    """Why the faster way cannot be taken; None if it can."""
    reason = changed_logits(model) or carries_along(model)
    if reason is not None:
        return str(reason)
    if _bound(model.config) <= max(_PROBE_CONTEXTS) + max(_PROBE_BRANCHES):
        return "a very short window"
    rows = _probe(model.get_input_embeddings().weight.shape[0])
    with torch.inference_mode():
        right = [value.logprob for _, values in plain_rows(model, rows) for value in values]
        try:
            ways = (score_rows(model, [rows], shared) for shared in (rows[0].context[:_PROBE_SHARED], []))
            fast = [value.logprob for way in ways for _, values in way for value in values]
        except (
            Exception
        ) as error:  # whatever an architecture's own code makes of masks and caches that it does not know
            return f"{type(error).__name__} with branches"
    share = _SAME.get(model.dtype, _SAME_ROUNDED)
    worst = max(abs(a - b) / (1 + abs(b)) for a, b in zip(fast, right * 2, strict=True))
    return None if worst <= share else f"log-likelihoods would differ by {worst:.1%}"


def _probe(vocabulary: int) -> list[Row]:
    """Rows of tokens drawn at random that begin alike, with options of one and of several tokens."""
    drawn = torch.Generator().manual_seed(0)

    def ids(count: int) -> list[int]:
        return torch.randint(vocabulary, (count,), generator=drawn).tolist()

    shared = ids(_PROBE_SHARED)
    return [
        Row(i, shared + ids(size - len(shared)), [Branch(j, ids(n)) for j, n in enumerate(_PROBE_BRANCHES)])
        for i, size in enumerate(_PROBE_CONTEXTS)
    ]


def _logits(model: Any, ids: list[int], keep: int) -> Tensor:
    """The logits [keep, V] after the last `keep` of `ids`, in fp32."""
    wanted = {"logits_to_keep": keep} if "logits_to_keep" in signature(model.forward).parameters else {}
    output = model(torch.tensor([ids], device=model.device), use_cache=False, **wanted)
    return output.logits[0, -keep:].float()  # type: ignore[no-any-return]


def _value(logits: Tensor, ids: list[int]) -> Value:
    """Of a continuation `ids`, the logits before each of whose tokens are the last of `logits` [.., V]."""
    logits, target = logits[-len(ids) :], torch.tensor(ids, device=logits.device)
    picked = logits.gather(1, target[:, None])[:, 0]
    greedy = bool((picked >= logits.amax(1)).all())
    return Value(float((picked - logits.logsumexp(1)).double().sum()), greedy)


@contextmanager
def _exact_projection(model: Any) -> Iterator[None]:
    """Within it, a model of rounded weights projects onto the vocabulary in fp32.

    In bf16 a logit of 16 is a multiple of 1/8, so that options would often tie that do not.
    """
    head = model.get_output_embeddings()
    if model.dtype in _SAME or head is None:
        yield
        return

    def forward(hidden: Tensor) -> Tensor:  # [.., D] -> [.., V]
        parts = head.weight.split(_COLUMNS_AT_ONCE)
        logits = torch.cat([F.linear(hidden.float(), part.float()) for part in parts], -1)
        return logits if head.bias is None else logits + head.bias.float()

    head.forward = forward
    try:
        yield
    finally:
        del head.forward  # the class' own again
