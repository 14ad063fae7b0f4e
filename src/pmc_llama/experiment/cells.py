"""The comparison as a grid: {base, adapted} x regimes x seeds. One cell is one tuned model and its predictions."""

from dataclasses import dataclass
from pathlib import Path

from pmc_llama.recipe import Recipe
from pmc_llama.recipe.inputs import adapted_model_path, base_model_path
from pmc_llama.recipe.qa import TaskSection

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
        for seed in (recipe.seeds if section.tuned else recipe.seeds[:1])
        for model in MODELS
    ]


def tuned_cells(recipe: Recipe) -> list[Cell]:
    """The cells whose model is tuned before it is asked."""
    return [cell for cell in cells(recipe) if recipe.regimes[cell.regime].tuned]


def asked_as(recipe: Recipe, regime: str, task: str) -> TaskSection:
    """How a regime asks a task: as the task says, but `zero_shot` and `few_shot` have shots of their own."""
    section, how = recipe.tasks[task], recipe.regimes[regime]
    if how.tuned:
        return section
    shots = how.shots if how.kind == "few_shot" else 0
    return section.model_copy(update={"shots": shots, "shots_draw": how.shots_draw})


def starting_model(recipe: Recipe, cell: Cell) -> Path | str:
    """The model that a cell starts from."""
    return base_model_path(recipe) if cell.model == "base" else adapted_model_path(recipe)
