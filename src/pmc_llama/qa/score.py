"""Log-likelihood scoring: which option does the model find likeliest, and by how much.

A question is one row of tokens: its context once, then a branch for each option's continuation without its last token;
branches see the context and themselves. One-token options have empty branches, so that a single causal pass scores them
all. What all rows begin with (fixed shots) is computed once. Only positions that predict a scored token meet the
vocabulary; their own logits and the log-softmax are fp32 whatever the model's precision.

Where that is not proven to give what transformers' plain forward pass gives (`plain.py`), the plain pass is taken.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Literal

import msgspec
import torch

from pmc_llama.errors import InputError
from pmc_llama.qa.encoding import Encoded, encode_prompts
from pmc_llama.qa.forward import Branch, Row, Value, score_rows
from pmc_llama.qa.journal import Journal
from pmc_llama.qa.plain import fast_up_to, plain_rows
from pmc_llama.qa.prompts import Answers, Prompt, render
from pmc_llama.qa.question import Question
from pmc_llama.qa.sharing import share

Normalise = Literal["none", "chars", "bytes", "tokens"]
MIN_SHARED_TOKENS = 32
"""A common beginning shorter than this is computed with each row: keeping it apart would cost more than it saves."""


class Scored(msgspec.Struct, frozen=True):
    """What a model makes of one question."""

    question_id: str
    option_logprobs: tuple[float, ...]
    """Log-likelihood of each option's continuation, in nats."""
    option_scores: tuple[float, ...]
    """`option_logprobs` divided by the options' lengths, as `normalise` asks: what the choice is made by."""
    chosen: int
    """Index of the largest score; the first of them on a tie."""
    tie: bool
    """Whether two options share the largest score exactly."""
    truncated: bool
    """Whether the input was longer than the model takes, so that it lost its beginning."""
    option_greedy: tuple[bool, ...] = ()
    """Whether greedy decoding would have written this very continuation."""


def score(
    model: Any,
    tokenizer: Any,
    questions: Sequence[Question],
    *,
    prompt: str = "lm-eval",
    answers: Answers | None = None,
    normalise: Normalise = "none",
    batch_tokens: int | None = None,
    max_length: int | None = None,
    shots: Sequence[Sequence[Question]] | None = None,
    journal: Journal | None = None,
) -> list[Scored]:
    """Score questions, in their order. Semantics are lm-evaluation-harness'; results do not depend on `batch_tokens`.

    `model`: a causal LM of transformers in eval mode, of any precision; `shots`: solved questions to show before each
    question; `batch_tokens`: tokens in one forward pass (None: 16,384, or 4,096 on a CPU, whose caches hold no more);
    `max_length`: longest input in tokens (None: the model's), longer ones are truncated from the left;
    `journal`: where results are kept as they come, so that an interrupted call goes on. Where torch.distributed is
    initialised, each process scores its share and all return everything. Raises InputError for a continuation that has
    no tokens or does not fit `max_length`.
    """
    examples = shots if shots is not None else [()] * len(questions)
    prompts = [render(prompt, one, answers, solved) for one, solved in zip(questions, examples, strict=True)]
    limit = max_length or int(model.config.max_position_embeddings)
    batch_tokens = batch_tokens or (4096 if model.device.type == "cpu" else 16384)

    def work(todo: Sequence[int]) -> Iterator[tuple[int, Scored]]:
        encoded = dict(zip(todo, encode_prompts(tokenizer, [prompts[i] for i in todo]), strict=True))
        for i, values, truncated in _values(model, encoded, limit, batch_tokens):
            divisors = lengths(prompts[i], [len(part) for part in encoded[i].continuations], normalise)
            yield i, scored(questions[i].question_id, values, divisors, truncated)

    return share(len(questions), Scored, work, journal=journal, label="score")


def scored(question_id: str, values: Sequence[Value], divisors: Sequence[int], truncated: bool) -> Scored:
    """Choose among options by their values, each divided by its divisor (see `lengths`)."""
    scores = tuple(value.logprob / divisor for value, divisor in zip(values, divisors, strict=True))
    best = max(scores)
    return Scored(
        question_id=question_id,
        option_logprobs=tuple(value.logprob for value in values),
        option_scores=scores,
        chosen=scores.index(best),
        tie=scores.count(best) > 1,
        truncated=truncated,
        option_greedy=tuple(value.greedy for value in values),
    )


def _values(
    model: Any, encoded: Mapping[int, Encoded], limit: int, batch_tokens: int
) -> Iterator[tuple[int, list[Value], bool]]:
    """Each question's option values as they come, and whether it was truncated."""
    rows = {i: _rows(i, one, limit) for i, one in encoded.items()}
    whole = [row for i, mine in rows.items() for row in mine if not _too_long(encoded[i], limit)]
    cut = [row for i, mine in rows.items() for row in mine if _too_long(encoded[i], limit)]
    values: dict[int, dict[int, Value]] = {i: {} for i in encoded}
    longest = fast_up_to(model)
    with torch.inference_mode():
        for part in (whole, cut):
            fast = [row for row in part if row.deepest <= longest]
            plain = [row for row in part if row.deepest > longest]
            scored = score_rows(model, _batches(fast, batch_tokens), _shared_beginning(fast))
            for row, branch_values in chain(scored, plain_rows(model, plain)):
                mine = values[row.item]
                mine |= {branch.option: value for branch, value in zip(row.branches, branch_values, strict=True)}
                count = len(encoded[row.item].continuations)
                if len(mine) == count:
                    yield row.item, [mine[option] for option in range(count)], part is cut


def _too_long(encoded: Encoded, limit: int) -> bool:
    """Whether some option's input does not fit; its last token is predicted, not read."""
    return max(len(encoded.context) + len(part) for part in encoded.continuations) > limit + 1


def _rows(item: int, encoded: Encoded, limit: int) -> list[Row]:
    """Rows of one question: one if no option needs truncation, else one for each distinct context that is left."""
    rows: dict[int, Row] = {}
    for option, part in enumerate(encoded.continuations):
        keep = limit + 1 - len(part)  # context tokens that fit; the last token of all is predicted, not read
        if keep < 1:
            raise InputError(f"an option of {len(part)} tokens does not fit the maximum length of {limit} tokens")
        context = encoded.context[-keep:]
        row = rows.setdefault(len(context), Row(item, context, []))
        row.branches.append(Branch(option, part))
    return list(rows.values())


def _batches(rows: Sequence[Row], batch_tokens: int) -> Iterator[list[Row]]:
    """Rows of similar length together, as many as fit `batch_tokens` when padded; longest first."""
    batch: list[Row] = []
    for row in sorted(rows, key=lambda one: -one.length):
        if batch and (len(batch) + 1) * batch[0].length > batch_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _shared_beginning(rows: Sequence[Row]) -> list[int]:
    """The tokens that all rows begin with, if they are worth keeping apart; each row keeps at least one of its own."""
    if len(rows) < 2:
        return []
    first, last = min(row.context for row in rows), max(row.context for row in rows)  # differ earliest of all pairs
    limit = min(len(row.context) for row in rows) - 1
    size = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    size = min(size, limit)
    return first[:size] if size >= MIN_SHARED_TOKENS else []


def lengths(prompt: Prompt, token_counts: Sequence[int], normalise: Normalise) -> list[int]:
    """What each option's log-likelihood is divided by. Characters and bytes leave the leading blank out."""
    if normalise == "none":
        return [1] * len(prompt.continuations)
    if normalise == "tokens":
        return list(token_counts)
    choices = [continuation.removeprefix(" ") for continuation in prompt.continuations]
    return [len(choice) if normalise == "chars" else len(choice.encode()) for choice in choices]
