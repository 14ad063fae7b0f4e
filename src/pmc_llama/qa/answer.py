"""One model answers the questions of a task as the recipe asks it to: by likelihood or in words, with or without shots.

This is what the grid calls; it loads the model, and hands the work to `score` or `generate`.
"""

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import distributed

from pmc_llama import files
from pmc_llama.errors import RecipeError
from pmc_llama.model.folders import local_folder
from pmc_llama.model.inference import load_for_inference
from pmc_llama.model.precision import compute_dtype
from pmc_llama.model.stops import end_ids_of
from pmc_llama.qa.generate import Generated, generate
from pmc_llama.qa.harness import write_samples
from pmc_llama.qa.journal import Journal
from pmc_llama.qa.question import Question
from pmc_llama.qa.score import Scored, score
from pmc_llama.qa.shots import choose_shots
from pmc_llama.qa.tasks import load_questions
from pmc_llama.qa.writers import TransformersWriter, VllmWriter, Writer
from pmc_llama.recipe.qa import EvaluateSection, TaskSection


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
        return None if self.texts is None else "\n⁂\n".join(self.texts)


def shot_pool(name: str, section: TaskSection, data_root: Path) -> list[Question]:
    """What the shots of a task come from: nothing if it has none, its training split if it has one, else its test."""
    if section.shots == 0:
        return []
    if section.train is not None:
        return load_questions(name, section, data_root, "train")
    return load_questions(name, section.model_copy(update={"limit": None}), data_root, "test")


class Answerer:
    """One model: a Hugging Face folder or hub id, with a LoRA adapter if it has one. It is loaded when first needed.

    Where torch.distributed is initialised every process answers its share, and all get all answers.
    """

    def __init__(
        self, folder: Path | str, tokenizer: Any, evaluate: EvaluateSection, *, adapter: Path | None = None
    ) -> None:
        self._folder, self._tokenizer, self._evaluate, self._adapter = folder, tokenizer, evaluate, adapter
        self._model: Any = None
        self._writer: Writer | None = None

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
        the answers in the form of lm-evaluation-harness' `--log_samples`. Raises RecipeError and InputError as
        `score`, `generate` and `choose_shots` do.
        """
        shots = choose_shots(questions, pool, section.shots, kind=section.shots_draw)
        asked: dict[str, Any] = {"prompt": section.prompt, "answers": section.answers, "shots": shots}
        kept = None if journal is None else Journal(journal, self._key(section, questions, pool), _rank())
        if section.method == "likelihood":
            results: Sequence[Scored | Generated] = score(
                self._for_scoring(),
                self._tokenizer,
                questions,
                normalise=self._evaluate.normalise,
                batch_tokens=self._evaluate.batch_tokens,
                max_length=self._evaluate.max_length,
                journal=kept,
                **asked,
            )
        else:
            how = self._evaluate.generation
            results = generate(self._for_writing(), self._tokenizer, questions, how=how, journal=kept, **asked)
        if samples is not None and _rank() == 0:
            write_samples(samples, questions, results, **asked)
        return [_answer(one) for one in results]

    def _key(self, section: TaskSection, questions: Sequence[Question], pool: Sequence[Question]) -> str:
        """All that answers depend on besides the model."""
        settings = [section.settings("score"), self._evaluate.settings("score")]
        return files.sha256_json([settings, msgspec.to_builtins([*questions, *pool])])

    def _for_scoring(self) -> Any:
        if self._model is None:
            if isinstance(self._writer, VllmWriter):
                self._writer = None  # it holds the whole GPU
                _free()
            kind = "cuda" if torch.cuda.is_available() else "cpu"
            device = torch.device(kind, torch.cuda.current_device()) if kind == "cuda" else torch.device(kind)
            dtype = compute_dtype(self._evaluate.precision, device)
            self._model = load_for_inference(self._folder, adapter=self._adapter, dtype=dtype, device=str(device))
        return self._model

    def _for_writing(self) -> Writer:
        if self._writer is None and self._evaluate.generation.engine == "vllm":
            if distributed.is_initialized() and distributed.get_world_size() > 1:
                raise RecipeError("`evaluate.generation.engine: vllm` has workers of its own: start one process only")
            self._model = None
            _free()
            self._writer = VllmWriter(
                self._folder,
                adapter=self._adapter,
                precision=self._evaluate.precision,
                max_length=self._evaluate.max_length,
                stop_ids=end_ids_of(local_folder(self._folder), self._tokenizer),
            )
        elif self._writer is None:
            longest = self._evaluate.max_length
            self._writer = TransformersWriter(self._for_scoring(), self._tokenizer, max_length=longest)
        return self._writer


def _rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _answer(one: Scored | Generated) -> Answer:
    common = (one.question_id, one.chosen, one.tie, one.truncated)
    if isinstance(one, Generated):
        return Answer(*common, texts=one.texts)
    return Answer(*common, one.option_logprobs, one.option_scores, one.option_greedy)
