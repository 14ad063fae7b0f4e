"""The comparison as a grid: {base, adapted} x regimes x seeds. One cell is one tuned model and its predictions."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pmc_llama.recipe import Recipe
from pmc_llama.recipe.inputs import adapted_model_path, base_model_path, fingerprint, test_settings
from pmc_llama.stamps import Stamp

MODELS = ("base", "adapted")


@dataclass(frozen=True, order=True)
class Cell:
    """One regime applied to the base or to the adapted model with one seed."""

    regime: str
    model: str
    seed: int

    @property
    def name(self) -> str:
        """Name of the cell in file names and logs."""
        return f"{self.regime}-{self.model}-seed-{self.seed}"


def cells(recipe: Recipe) -> list[Cell]:
    """All cells in the order in which they run. A regime without tuning has no randomness, so it takes one seed."""
    return [
        Cell(regime, model, seed)
        for regime, section in recipe.regimes.items()
        for seed in (recipe.seeds if section.kind != "zero_shot" else recipe.seeds[:1])
        for model in MODELS
    ]


def tune_folder(recipe: Recipe, cell: Cell) -> Path:
    """Where a cell's tuned model and its metrics lie."""
    return recipe.run_path / "tune" / cell.regime / cell.model / f"seed-{cell.seed}"


def predictions_file(recipe: Recipe, cell: Cell) -> Path:
    """Where a cell's predictions lie before they are joined."""
    return recipe.run_path / "predictions" / f"{cell.name}.parquet"


def tuning_stamps(recipe: Recipe, stamps: Mapping[str, Stamp]) -> dict[Cell, Stamp]:
    """One stamp a tuned cell. A cell of the base model does not depend on pre-training."""
    tuned = [cell for cell in cells(recipe) if recipe.regimes[cell.regime].kind != "zero_shot"]
    return {
        cell: Stamp(
            recipe.run_path / "stamps" / "tune" / f"{cell.name}.json",
            _tuning_settings(recipe, cell),
            _origin(cell, stamps),
            [tune_folder(recipe, cell)],
        )
        for cell in tuned
    }


def scoring_stamps(recipe: Recipe, stamps: Mapping[str, Stamp]) -> dict[Cell, Stamp]:
    """One stamp a cell's predictions."""
    tuned = tuning_stamps(recipe, stamps)
    settings = {"tasks": test_settings(recipe), "evaluate": recipe.evaluate.settings()}
    return {
        cell: Stamp(
            recipe.run_path / "stamps" / "score" / f"{cell.name}.json",
            settings,
            [tuned[cell]] if cell in tuned else _origin(cell, stamps),
            [predictions_file(recipe, cell)],
        )
        for cell in cells(recipe)
    }


def starting_model(recipe: Recipe, cell: Cell) -> Path | str:
    """The model that a cell starts from."""
    return base_model_path(recipe) if cell.model == "base" else adapted_model_path(recipe)


def take_fraction(questions: list[Any], fraction: float, seed: int) -> list[Any]:
    """A seeded share of the questions, at least one. Smaller shares of one seed are contained in larger ones."""
    shuffled = list(questions)
    random.Random(seed).shuffle(shuffled)
    return shuffled[: max(1, round(fraction * len(shuffled)))]


def _origin(cell: Cell, stamps: Mapping[str, Stamp]) -> list[Stamp]:
    names = ("minimed", "pretrain" if cell.model == "adapted" else "base")
    return [stamps[name] for name in names if name in stamps]


def _tuning_settings(recipe: Recipe, cell: Cell) -> dict[str, Any]:
    regime = recipe.regimes[cell.regime]
    tasks = {name: recipe.tasks[name] for name in regime.tasks}
    return {
        "seed": cell.seed,
        "regime": regime.settings(),
        "tasks": {name: task.settings(frozenset({"test", "limit"})) for name, task in tasks.items()},
        "files": {name: fingerprint(recipe, [task.train] if task.train else []) for name, task in tasks.items()},
        "tokenizer": recipe.tokenizer.path,
    }
