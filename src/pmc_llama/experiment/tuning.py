"""What a cell is tuned on: the training questions or instructions of its regime, encoded once for all cells."""

import math
import random
from pathlib import Path
from typing import Any

import msgspec

from pmc_llama.experiment.cells import Cell, asked_of
from pmc_llama.experiment.instructions import instruction_examples, read_instructions
from pmc_llama.experiment.models import weights_of
from pmc_llama.qa.examples import Example, TuningBatches, question_examples
from pmc_llama.qa.tasks import load_questions
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.inputs import input_files
from pmc_llama.recipe.qa import RegimeSection
from pmc_llama.records.instructions import InstructionRows
from pmc_llama.tokens.encode import hf_tokenizer


class TuningData:
    """The examples that regimes tune on; regimes on the same questions, seeds and like models share them."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._tokenizers: dict[Path, Any] = {}
        self._encoded: dict[str, dict[str, tuple[list[list[Example]], InstructionRows]]] = {}

    def batches(self, cell: Cell) -> TuningBatches:
        """The batches of one cell: the share of the examples that its regime and seed take, in the seed's order."""
        regime = self.recipe.regimes[cell.regime]
        taken = [one for group in self._groups(cell)[0] for one in take_fraction(group, regime.fraction, cell.seed)]
        epochs = enough_epochs(regime, len(taken))
        return TuningBatches(taken, options=regime.model_copy(update={"epochs": epochs}), seed=cell.seed)

    def tally(self, cell: Cell) -> InstructionRows:
        """What became of all questions or instruction rows of a cell's regime, whatever share of them it takes."""
        return self._groups(cell)[1]

    def tokenizer(self, model: str) -> Any:
        """The tokenizer that a model is tuned with."""
        path = weights_of(self.recipe, model).tokenizer
        if path not in self._tokenizers:
            self._tokenizers[path] = hf_tokenizer(path)
        return self._tokenizers[path]

    def _groups(self, cell: Cell) -> tuple[list[list[Example]], InstructionRows]:
        """All examples of a cell's regime, a group per task, or one of instructions, and what became of them."""
        regime = self.recipe.regimes[cell.regime]
        key, of_model = _key(regime), self._model_key(cell)
        if key not in self._encoded:
            self._encoded = {key: {}}  # the last ones alone are kept: cells run regime by regime
        if of_model not in self._encoded[key]:
            tokenizer = self.tokenizer(cell.model)
            self._encoded[key][of_model] = (
                self._instructions(regime, tokenizer) if regime.files else self._questions(cell, regime, tokenizer)
            )
        return self._encoded[key][of_model]

    def _model_key(self, cell: Cell) -> str:
        """What of a model the examples depend on: its tokenizer, and its prompt where it has one of its own."""
        other = self.recipe.models.get(cell.model)
        prompt = None if other is None else str(other.prompt)
        return str([str(weights_of(self.recipe, cell.model).tokenizer), prompt])

    def _questions(
        self, cell: Cell, regime: RegimeSection, tokenizer: Any
    ) -> tuple[list[list[Example]], InstructionRows]:
        tasks = {name: asked_of(self.recipe, name, cell.model) for name in regime.tasks}
        groups = {
            name: question_examples(
                load_questions(name, section, self.recipe.data_root, "train"),
                prompt=section.prompt,
                answers=section.answers,
                tokenizer=tokenizer,
                seq_len=regime.seq_len,
                loss_on=regime.loss_on,
            )
            for name, section in tasks.items()
        }
        sources = {name: len(examples) for name, examples in groups.items()}
        cut = sum(example.truncated for examples in groups.values() for example in examples)
        total = sum(sources.values())
        return list(groups.values()), InstructionRows(rows=total, kept=total, truncated=cut, sources=sources)

    def _instructions(self, regime: RegimeSection, tokenizer: Any) -> tuple[list[list[Example]], InstructionRows]:
        rows, tally = read_instructions(input_files(self.recipe.data_root, regime.files))
        examples = instruction_examples(
            rows, tally, tokenizer=tokenizer, seq_len=regime.seq_len, loss_on=regime.loss_on
        )
        return [examples], tally


def take_fraction(items: list[Any], fraction: float, seed: int) -> list[Any]:
    """A seeded share of the items, at least one. Smaller shares of one seed are contained in larger ones."""
    shuffled = list(items)
    random.Random(seed).shuffle(shuffled)
    return shuffled[: max(1, round(fraction * len(shuffled)))]


def enough_epochs(regime: RegimeSection, examples: int) -> float:
    """The regime's epochs, or as many more as `min_steps` needs."""
    steps = math.ceil(examples * regime.epochs / regime.global_batch)
    if regime.min_steps is None or steps >= regime.min_steps:
        return regime.epochs
    return regime.min_steps * regime.global_batch / examples


def _key(regime: RegimeSection) -> str:
    keys = (regime.tasks if not regime.files else [], regime.files, regime.seq_len, regime.loss_on)
    return msgspec.json.encode(keys).decode()
