"""Questions as training batches: the very token ids that scoring uses, packed without padding and isolated."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from pmc_llama import files
from pmc_llama.errors import InputError
from pmc_llama.qa.encoding import Encoded, encode_solved
from pmc_llama.qa.prompts import Answers, render
from pmc_llama.qa.question import Question
from pmc_llama.recipe.training import TrainSection
from pmc_llama.train.batches import IGNORE, Rows

LossOn = Literal["answer", "all"]


class Example(msgspec.Struct, frozen=True):
    """One solved question as training sees it."""

    ids: NDArray[np.int64]  # [T]
    labels: NDArray[np.int64]  # [T], at the same positions as `ids`; the first is always IGNORE
    truncated: bool = False
    """Whether it lost its beginning."""


class TuningBatches:
    """Examples in batches that depend on the step alone: a `BatchSource`.

    A global batch is `global_batch` *examples* (questions), packed into as few rows of at most `seq_len` tokens as
    first-fit finds. Epochs follow each other without a gap, each in an order of its own; the last batch may be smaller.
    """

    def __init__(self, examples: Sequence[Example], *, options: TrainSection, seed: int) -> None:
        if not examples:
            raise InputError("there are no training questions to tune on")
        self.examples = examples
        self._seq_len, self._batch, self._seed = options.seq_len, options.global_batch, seed
        self._total = math.ceil(len(examples) * options.epochs - 1e-9)
        steps = math.ceil(self._total / self._batch)
        self.steps = min(steps, options.max_steps) if options.max_steps else steps
        self.presented = min(self._total, self.steps * self._batch)
        """Examples of the whole run, each as often as it is used."""
        self._orders: dict[int, NDArray[np.int64]] = {}
        self.fingerprint = self._hash()

    def rows(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        """Rows `rank::world` of global batch `step`, padded to the longest of them; there may be none."""
        last = min((step + 1) * self._batch, self._total)
        batch = [self.examples[self._example(i)] for i in range(step * self._batch, last)]
        return _padded(_packed(batch, self._seq_len)[rank::world])

    def coverage(self, step: int) -> float | None:
        """Share of distinct examples seen after `step` steps."""
        return min(1.0, step * self._batch / len(self.examples))

    def coverage_by_source(self, step: int) -> dict[str, float]:
        """Nothing: there is one source."""
        return {}

    def _example(self, position: int) -> int:
        """Which example stands at `position` of the run's whole stream."""
        epoch, place = divmod(position, len(self.examples))
        if epoch not in self._orders:
            self._orders = {epoch: np.random.default_rng((self._seed, epoch)).permutation(len(self.examples))}
        return int(self._orders[epoch][place])

    def _hash(self) -> str:
        settings = [self._seq_len, self._batch, self._seed, self._total, self.steps]
        content = b"".join(part.tobytes() for example in self.examples for part in (example.ids, example.labels))
        return files.sha256_json([settings, files.sha256_bytes(content)])


def tuning_batches(
    questions: Sequence[Question],
    *,
    prompt: str | Mapping[str, str],
    tokenizer: Any,
    options: TrainSection,
    loss_on: LossOn,
    seed: int,
    answers: Answers | Mapping[str, Answers | None] | None = None,
) -> TuningBatches:
    """Batches of solved questions: prompt, right answer, end of text.

    `prompt` and `answers` are one value, or one per task by `Question.task`. `loss_on` "answer" trains on the answer
    and the end of text alone, "all" on the prompt too. Examples longer than `seq_len` lose their beginning, as in
    scoring.
    """
    examples = question_examples(
        questions, prompt=prompt, tokenizer=tokenizer, seq_len=options.seq_len, loss_on=loss_on, answers=answers
    )
    return TuningBatches(examples, options=options, seed=seed)


def question_examples(
    questions: Sequence[Question],
    *,
    prompt: str | Mapping[str, str],
    tokenizer: Any,
    seq_len: int,
    loss_on: LossOn,
    answers: Answers | Mapping[str, Answers | None] | None = None,
) -> list[Example]:
    """The solved questions as training sees them; arguments as for `tuning_batches`."""
    solved = []
    for question in questions:
        name = prompt if isinstance(prompt, str) else prompt[question.task]
        scored = answers[question.task] if isinstance(answers, Mapping) else answers
        solved.append((render(name, question, scored), question.gold))
    encoded = encode_solved(tokenizer, solved)
    return [example(one, tokenizer.eos_token_id, seq_len=seq_len, loss_on=loss_on) for one in encoded]


def example(encoded: Encoded, eos_id: int, *, seq_len: int, loss_on: LossOn) -> Example:
    """A prompt with its only continuation and the end of text, without the beginning that does not fit `seq_len`."""
    ids = np.array([*encoded.context, *encoded.continuations[0], eos_id], dtype=np.int64)
    labels = ids.copy()
    labels[: len(encoded.context) if loss_on == "answer" else 1] = IGNORE
    truncated = len(ids) > seq_len
    ids, labels = ids[-seq_len:], labels[-seq_len:]
    labels[0] = IGNORE
    return Example(ids, labels, truncated)


def _packed(examples: Sequence[Example], seq_len: int) -> list[list[Example]]:
    """Rows of examples of at most `seq_len` tokens together: as few as first-fit needs, and nearly of one length."""
    longest_first = sorted(examples, key=lambda one: -len(one.ids))  # stable: ties stay in the batch's order
    rows: list[list[Example]] = []
    room: list[int] = []
    for example in longest_first:
        size = len(example.ids)
        fitting = next((i for i, free in enumerate(room) if free >= size), None)
        if fitting is None:
            rows.append([example])
            room.append(seq_len - size)
        else:
            rows[fitting].append(example)
            room[fitting] -= size
    return _levelled(longest_first, len(rows), seq_len) or rows


def _levelled(longest_first: Sequence[Example], count: int, seq_len: int) -> list[list[Example]] | None:
    """`count` rows, each example in the one that is shortest so far; None where one gets longer than `seq_len`.

    All rows are padded to the longest, and the last row of first-fit is mostly empty.
    """
    rows: list[list[Example]] = [[] for _ in range(count)]
    lengths = [0] * count
    for example in longest_first:
        shortest = lengths.index(min(lengths))
        rows[shortest].append(example)
        lengths[shortest] += len(example.ids)
    return rows if max(lengths, default=0) <= seq_len else None


def _padded(rows: list[list[Example]]) -> Rows:
    length = max((sum(len(example.ids) for example in row) for row in rows), default=0)
    ids, positions = np.zeros((2, len(rows), length), dtype=np.int64)
    labels = np.full((len(rows), length), IGNORE, dtype=np.int64)
    for i, row in enumerate(rows):
        start = 0
        for example in row:
            end = start + len(example.ids)
            ids[i, start:end], labels[i, start:end] = example.ids, example.labels
            positions[i, start:end] = np.arange(end - start)
            start = end
        positions[i, start:] = np.arange(length - start)  # padding is one more document, without labels
    return Rows(ids=ids, position_ids=positions, labels=labels)
