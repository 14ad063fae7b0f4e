"""Log-likelihood scoring: which option does the model find likeliest, and by how much.

A question is one row of tokens: its context once, then a branch for each option's continuation without its last token;
branches see the context and themselves. One-token options have empty branches, so that a single causal pass scores them
all. What all rows begin with (fixed shots) is computed once. Only positions that predict a scored token meet the
vocabulary, in fp32 from the final hidden state on.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch

from pmc_llama.errors import InputError
from pmc_llama.progress import Progress
from pmc_llama.qa.encoding import Encoded, encode_prompts
from pmc_llama.qa.forward import Branch, Row, option_logprobs
from pmc_llama.qa.prompts import Answers, Prompt, render
from pmc_llama.qa.question import Question

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


def score(
    model: Any,
    tokenizer: Any,
    questions: Sequence[Question],
    *,
    prompt: str = "lm-eval",
    answers: Answers | None = None,
    normalise: Normalise = "none",
    batch_tokens: int = 16384,
    max_length: int | None = None,
    shots: Sequence[Sequence[Question]] | None = None,
) -> list[Scored]:
    """Score questions, in their order. Semantics are lm-evaluation-harness'; results do not depend on `batch_tokens`.

    `model`: a causal LM of transformers in eval mode, of any precision; `shots`: solved questions to show before each
    question; `max_length`: longest input in tokens (None: the model's), longer ones are truncated from the left.
    Raises InputError for a continuation that has no tokens or does not fit `max_length`.
    """
    examples = shots if shots is not None else [()] * len(questions)
    prompts = [render(prompt, one, answers, solved) for one, solved in zip(questions, examples, strict=True)]
    logprobs, truncated = score_prompts(model, tokenizer, prompts, batch_tokens=batch_tokens, max_length=max_length)
    results = []
    for i, question in enumerate(questions):
        lengths = _lengths(tokenizer, prompts[i], normalise)
        scores = tuple(value / length for value, length in zip(logprobs[i], lengths, strict=True))
        best = max(scores)
        results.append(
            Scored(
                question_id=question.question_id,
                option_logprobs=tuple(logprobs[i]),
                option_scores=scores,
                chosen=scores.index(best),
                tie=scores.count(best) > 1,
                truncated=truncated[i],
            )
        )
    return results


def score_prompts(
    model: Any, tokenizer: Any, prompts: Sequence[Prompt], *, batch_tokens: int, max_length: int | None
) -> tuple[list[list[float]], list[bool]]:
    """Log-likelihoods of each prompt's continuations, and whether the prompt was truncated."""
    limit = max_length or int(model.config.max_position_embeddings)
    encoded = encode_prompts(tokenizer, prompts)
    results = [[0.0] * len(one.continuations) for one in encoded]
    truncated = [False] * len(encoded)
    whole_rows: list[Row] = []
    cut_rows: list[Row] = []
    for i, one in enumerate(encoded):
        truncated[i] = max(len(one.context) + len(part) for part in one.continuations) > limit + 1
        (cut_rows if truncated[i] else whole_rows).extend(_rows(i, one, limit))
    with Progress("score", len(whole_rows) + len(cut_rows), "rows") as progress, torch.inference_mode():
        for rows in (whole_rows, cut_rows):
            shared = _shared_beginning(rows)
            for batch, values in option_logprobs(model, _batches(rows, batch_tokens), shared):
                for row, logprobs in zip(batch, values, strict=True):
                    for branch, logprob in zip(row.branches, logprobs, strict=True):
                        results[row.item][branch.option] = logprob
                progress.advance(len(batch))
    return results, truncated


def load_scorer_model(path: Path, adapter: Path | None = None, precision: str = "auto") -> Any:
    """A model to score with: a Hugging Face folder, a PEFT adapter merged into it if given, on the GPU if there is one.

    `precision` "bf16" or "fp32" is that of the weights; "auto" is bf16 on a GPU and fp32 elsewhere.
    """
    from transformers import AutoModelForCausalLM

    if not (path / "config.json").is_file():
        raise InputError(f"{path} is not a model folder: it has no config.json")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    half = precision == "bf16" or (precision == "auto" and device.type == "cuda")
    dtype = torch.bfloat16 if half else torch.float32
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32 if adapter else dtype)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter).merge_and_unload()  # in fp32, then rounded once
    return model.to(device=device, dtype=dtype).eval()


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


def _lengths(tokenizer: Any, prompt: Prompt, normalise: Normalise) -> list[int]:
    """What each option's log-likelihood is divided by. Characters and bytes leave the leading blank out."""
    if normalise == "none":
        return [1] * len(prompt.continuations)
    if normalise == "tokens":
        return [len(part) for part in encode_prompts(tokenizer, [prompt])[0].continuations]
    choices = [continuation[1:] for continuation in prompt.continuations]
    return [len(choice) if normalise == "chars" else len(choice.encode()) for choice in choices]
