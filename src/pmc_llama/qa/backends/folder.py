"""Local models: a Hugging Face folder or hub id, loaded here and asked by likelihood or in words.

It loads the model when it is first asked, and hands the work to `score` or `generate`.
"""

import gc
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import distributed

from pmc_llama import files
from pmc_llama.model.folders import local_folder
from pmc_llama.model.inference import load_for_inference
from pmc_llama.model.precision import compute_dtype
from pmc_llama.model.tensors import tensor_files
from pmc_llama.qa.backends.base import Answer, Model, answers_key
from pmc_llama.qa.generate import Generated, generate
from pmc_llama.qa.harness import write_samples
from pmc_llama.qa.journal import Journal
from pmc_llama.qa.question import Question
from pmc_llama.qa.score import Scored, score
from pmc_llama.qa.shots import choose_shots
from pmc_llama.qa.writers import TransformersWriter, Writer
from pmc_llama.recipe.qa import EvaluateSection, TaskSection
from pmc_llama.records.models import ModelFacts


class FolderBackend:
    """One model: a Hugging Face folder or hub id, with a LoRA adapter if it has one. It is loaded when first needed.

    Where torch.distributed is initialised every process answers its share, and all get all answers.
    """

    kind = "folder"

    def __init__(
        self, folder: Path | str, tokenizer: Any, evaluate: EvaluateSection, *, adapter: Path | None = None
    ) -> None:
        self._folder, self._tokenizer, self._evaluate, self._adapter = folder, tokenizer, evaluate, adapter
        self._model: Any = None
        self._writer: Writer | None = None

    @classmethod
    def opened(cls, model: Model) -> Self:
        """The backend of a local model."""
        assert model.folder is not None
        return cls(model.folder, model.tokenizer, model.evaluate, adapter=model.adapter)

    def answer(
        self,
        section: TaskSection,
        questions: Sequence[Question],
        *,
        pool: Sequence[Question] = (),
        journal: Path | None = None,
        samples: Path | None = None,
    ) -> list[Answer]:
        """See `Backend`. Raises RecipeError and InputError as `score`, `generate` and `choose_shots` do."""
        shots = choose_shots(questions, pool, section.shots, kind=section.shots_draw)
        asked: dict[str, Any] = {"prompt": section.prompt, "answers": section.answers, "shots": shots}
        key = answers_key(section, self._evaluate, questions, pool)
        kept = None if journal is None else Journal(journal, key, _rank())
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
        return [as_answer(one) for one in results]

    def describe(self) -> ModelFacts:
        """See `Backend`. Raises InputError for a folder without whole weights."""
        folder = local_folder(self._folder)
        held = tensor_files(folder)
        return ModelFacts(
            kind=self.kind,
            where=str(self._folder),
            revision=folder.name if folder.parent.name == "snapshots" else None,  # a hub id in the hub's cache
            parameters=sum(math.prod(file.shape(name)) for name, file in held.items()),
            dtype=str(compute_dtype(self._evaluate.precision, _device())).removeprefix("torch."),
            tokenizer_sha256=tokenizer_hash(self._tokenizer),
        )

    def _for_scoring(self) -> Any:
        if self._model is None:
            device = _device()
            dtype = compute_dtype(self._evaluate.precision, device)
            self._model = load_for_inference(self._folder, adapter=self._adapter, dtype=dtype, device=str(device))
        return self._model

    def _for_writing(self) -> Writer:
        if self._writer is None:
            longest = self._evaluate.max_length
            self._writer = TransformersWriter(self._for_scoring(), self._tokenizer, max_length=longest)
        return self._writer


def as_answer(one: Scored | Generated) -> Answer:
    """What was scored or written, as an answer."""
    common = (one.question_id, one.chosen, one.tie, one.truncated)
    if isinstance(one, Generated):
        return Answer(*common, texts=one.texts)
    return Answer(*common, one.option_logprobs, one.option_scores, one.option_greedy)


def tokenizer_hash(tokenizer: Any) -> str | None:
    """Hash of the way from texts to ids; None for a tokenizer that does not say it."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return None if backend is None else files.sha256_text(backend.to_str())


def free_memory() -> None:
    """Give back the memory of models that nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _device() -> torch.device:
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(kind, torch.cuda.current_device()) if kind == "cuda" else torch.device(kind)


def _rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0
