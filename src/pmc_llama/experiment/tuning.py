"""What a cell is tuned on: the training questions or instructions of its regime, encoded once for all cells."""

import math
import random
from typing import Any

import msgspec

from pmc_llama.experiment.cells import Cell
from pmc_llama.experiment.instructions import instruction_examples, read_instructions
from pmc_llama.qa.examples import Example, TuningBatches, question_examples
from pmc_llama.qa.tasks import load_questions
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.inputs import input_files, tokenizer_path
from pmc_llama.recipe.qa import RegimeSection
from pmc_llama.records.instructions import InstructionRows
from pmc_llama.tokens.encode import hf_tokenizer


class TuningData:
    """The examples that regimes tune on. Regimes on the same questions, all seeds and both models share them."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.tokenizer = hf_tokenizer(tokenizer_path(recipe))
        self._encoded: dict[str, tuple[list[list[Example]], InstructionRows | None]] = {}

    def batches(self, cell: Cell) -> TuningBatches:
        """The batches of one cell: the share of the examples that its regime and seed take, in the seed's order."""
        regime = self.recipe.regimes[cell.regime]
        taken = [one for group in self._groups(regime) for one in take_fraction(group, regime.fraction, cell.seed)]
        epochs = enough_epochs(regime, len(taken))
        return TuningBatches(taken, options=regime.model_copy(update={"epochs": epochs}), seed=cell.seed)

    def tally(self, regime: RegimeSection) -> InstructionRows | None:
        """What became of the instruction rows of a regime that has any."""
        self._groups(regime)
        return self._encoded[_key(regime)][1]

    def _groups(self, regime: RegimeSection) -> list[list[Example]]:
        """All examples of a regime: a group a task, or one of instructions."""
        key = _key(regime)
        if key not in self._encoded:  # the last ones alone are kept: cells run regime by regime
            self._encoded = {key: self._instructions(regime) if regime.files else (self._questions(regime), None)}
        return self._encoded[key][0]

    def _questions(self, regime: RegimeSection) -> list[list[Example]]:
        tasks = {name: self.recipe.tasks[name] for name in regime.tasks}
        return [
            question_examples(
                load_questions(name, section, self.recipe.data_root, "train"),
                prompt=section.prompt,
                answers=section.answers,
                tokenizer=self.tokenizer,
                seq_len=regime.seq_len,
                loss_on=regime.loss_on,
            )
            for name, section in tasks.items()
        ]

    def _instructions(self, regime: RegimeSection) -> tuple[list[list[Example]], InstructionRows]:
        rows, tally = read_instructions(input_files(self.recipe.data_root, regime.files))
        examples = instruction_examples(
            rows, tally, tokenizer=self.tokenizer, seq_len=regime.seq_len, loss_on=regime.loss_on
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
