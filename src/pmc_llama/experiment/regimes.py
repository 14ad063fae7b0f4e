"""The comparison as a grid: {base, adapted} x regimes x seeds. One cell is one tuned model and its predictions."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pmc_llama.recipe import Recipe
from pmc_llama.recipe.inputs import adapted_model_path, base_model_path, evaluation_settings, fingerprint
from pmc_llama.recipe.qa import SCORED_BY, TaskSection
from pmc_llama.stamps import Stamp

MODELS = ("base", "adapted")
ASKING = frozenset({"shots", "shots_draw"})
"""Keys of a regime that do not change how a model is tuned."""


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
        for seed in (recipe.seeds if section.tuned else recipe.seeds[:1])
        for model in MODELS
    ]


def tune_folder(recipe: Recipe, cell: Cell) -> Path:
    """Where a cell's tuned model and its metrics lie."""
    return recipe.run_path / "tune" / cell.regime / cell.model / f"seed-{cell.seed}"


def answers_folder(recipe: Recipe, cell: Cell) -> Path:
    """Where a cell's answers are kept as they come, and lie in lm-evaluation-harness' form."""
    return recipe.run_path / "predictions" / cell.name


def predictions_file(recipe: Recipe, cell: Cell) -> Path:
    """Where a cell's predictions lie before they are joined."""
    return recipe.run_path / "predictions" / f"{cell.name}.parquet"


def asked_as(recipe: Recipe, regime: str, task: str) -> TaskSection:
    """How a regime asks a task: as the task says, but `zero_shot` and `few_shot` have shots of their own."""
    section, how = recipe.tasks[task], recipe.regimes[regime]
    if how.tuned:
        return section
    shots = how.shots if how.kind == "few_shot" else 0
    return section.model_copy(update={"shots": shots, "shots_draw": how.shots_draw})


def tuning_stamps(recipe: Recipe, stamps: Mapping[str, Stamp]) -> dict[Cell, Stamp]:
    """One stamp a tuned cell. A cell of the base model does not depend on pre-training."""
    tuned = [cell for cell in cells(recipe) if recipe.regimes[cell.regime].tuned]
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
    return {
        cell: Stamp(
            recipe.run_path / "stamps" / "score" / f"{cell.name}.json",
            _scoring_settings(recipe, cell),
            [tuned[cell]] if cell in tuned else _origin(cell, stamps),
            [predictions_file(recipe, cell), answers_folder(recipe, cell)],
        )
        for cell in cells(recipe)
    }


def starting_model(recipe: Recipe, cell: Cell) -> Path | str:
    """The model that a cell starts from."""
    return base_model_path(recipe) if cell.model == "base" else adapted_model_path(recipe)


def origins(cell: Cell) -> tuple[str, str]:
    """The stages that a cell's model and questions come from; those that the recipe has."""
    return "minimed", "pretrain" if cell.model == "adapted" else "base"


def _origin(cell: Cell, stamps: Mapping[str, Stamp]) -> list[Stamp]:
    return [stamps[name] for name in origins(cell) if name in stamps]


def _tuning_settings(recipe: Recipe, cell: Cell) -> dict[str, Any]:
    regime = recipe.regimes[cell.regime]
    tasks = {name: recipe.tasks[name] for name in regime.tasks} if not regime.files else {}
    asking = frozenset({"test", "limit"}) | SCORED_BY
    settings = {
        "seed": cell.seed,
        "regime": regime.settings(ASKING),
        "tasks": {name: task.settings(asking) for name, task in tasks.items()},
        "files": {name: fingerprint(recipe, [task.train] if task.train else []) for name, task in tasks.items()},
        "tokenizer": recipe.tokenizer.path,
    }
    return settings | ({"instructions": fingerprint(recipe, regime.files)} if regime.files else {})


def _scoring_settings(recipe: Recipe, cell: Cell) -> dict[str, Any]:
    """What decides a cell's answers besides its model; the shots of a regime that has its own stand in its tasks."""
    tested = [name for name, task in recipe.tasks.items() if task.test is not None]
    asked = recipe.model_copy(
        update={"tasks": recipe.tasks | {name: asked_as(recipe, cell.regime, name) for name in tested}}
    )
    return {"tasks": evaluation_settings(asked), "evaluate": recipe.evaluate.settings()}
