"""What every backend gives: answers to questions, and what is known of its model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from pmc_llama import files
from pmc_llama.qa.question import Question
from pmc_llama.recipe.models import ModelSection
from pmc_llama.recipe.qa import EvaluateSection, TaskSection
from pmc_llama.records.models import ModelFacts


class Answer(msgspec.Struct, frozen=True):
    """A model's answer to one question."""

    question_id: str
    chosen: int
    """Index of the option; −1 if what was written names none, which is wrong."""
    tie: bool
    """Whether another option was as good."""
    truncated: bool
    """Whether the input was longer than the model takes, so that it lost its beginning."""
    option_logprobs: tuple[float, ...] | None = None
    """Log-likelihood of each option in nats (None: the answer was written)."""
    option_scores: tuple[float, ...] | None = None
    """`option_logprobs` divided as `evaluate.normalise` asks."""
    option_greedy: tuple[bool, ...] | None = None
    """Whether greedy decoding would have written this very option."""
    texts: tuple[str, ...] | None = None
    """What was written, one text a sample (None: scored by likelihood)."""

    @property
    def parsed(self) -> str | None:
        """The written texts as one, for the predictions table."""
        return None if self.texts is None else BETWEEN_TEXTS.join(self.texts)


BETWEEN_TEXTS = "\n⁂\n"
"""What stands between the samples of one question in the predictions table."""


@dataclass(frozen=True)
class Model:
    """One model, ready to be opened: all that its section names is found."""

    section: ModelSection
    evaluate: EvaluateSection
    tokenizer: Any = None
    """A transformers tokenizer. Local models need it; an endpoint that has it is sent ids."""
    folder: Path | str | None = None
    """Of a local model: its folder or hub id."""
    adapter: Path | None = None
    """Of a local model: the LoRA adapter to merge into it."""
    file: Path | None = None
    """Of predictions: the Parquet file."""


class Backend(Protocol):
    """One model that answers. What it needs is loaded when it is first asked."""

    def answer(
        self,
        section: TaskSection,
        questions: Sequence[Question],
        *,
        pool: Sequence[Question] = (),
        journal: Path | None = None,
        samples: Path | None = None,
    ) -> list[Answer]:
        """Answer questions, in their order.

        `pool`: what shots come from, see `shot_pool`; `journal`: a folder in which answers are kept as they come, so
        that an interrupted call goes on (it must be thrown away when the model changes); `samples`: a file that gets
        the answers in the form of lm-evaluation-harness' `--log_samples`, where the backend knows them in full.
        """

    def describe(self) -> ModelFacts:
        """What is known of the model, without loading its weights."""


def answers_key(
    section: TaskSection, evaluate: EvaluateSection, questions: Sequence[Question], pool: Sequence[Question]
) -> str:
    """Hash of all that answers depend on besides the model."""
    settings = [section.settings("score"), evaluate.settings("score")]
    return files.sha256_json([settings, msgspec.to_builtins([*questions, *pool])])
