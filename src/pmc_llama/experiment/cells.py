"""The comparison as a grid: models x regimes x seeds. One cell is one model, tuned or not, and its predictions."""

from dataclasses import dataclass

from pmc_llama.recipe import Recipe
from pmc_llama.recipe.comparisons import ADAPTED, BASE
from pmc_llama.recipe.models import ChooseSection
from pmc_llama.recipe.qa import TaskSection
from pmc_llama.run_dir import adapted_name


@dataclass(frozen=True)
class Cell:
    """One regime applied to one model with one seed."""

    regime: str
    model: str
    seed: int
    pretrain_seed: int | None = None
    """Of an adapted model that was pre-trained with a further seed; None for the first, and for all other models."""

    @property
    def weights(self) -> str:
        """The model in paths, where each adapted model has a name of its own."""
        return self.model if self.pretrain_seed is None else adapted_name(self.pretrain_seed)

    @property
    def name(self) -> str:
        """Name of the cell in file names and logs."""
        return f"{self.regime}-{self.weights}-seed-{self.seed}"


def cells(recipe: Recipe) -> list[Cell]:
    """All cells in the order in which they run. A regime without tuning has no randomness, so it takes one seed.

    Further models than base and adapted are in the regimes that tune only if they say so.
    """
    return [
        Cell(regime, model, seed, pretrained)
        for regime, section in recipe.regimes.items()
        for seed in (recipe.seeds if section.tuned else recipe.seeds[:1])
        for model in recipe.all_models
        if not section.tuned or model not in recipe.models or recipe.models[model].tuned
        for pretrained in (further_pretrainings(recipe) if model == ADAPTED else [None])
    ]


def further_pretrainings(recipe: Recipe) -> list[int | None]:
    """The adapted models: None for the first, then the seeds of the further ones."""
    return [None, *recipe.pretrain_seeds[1:]]


def tuned_cells(recipe: Recipe) -> list[Cell]:
    """The cells whose model is tuned before it is asked."""
    return [cell for cell in cells(recipe) if recipe.regimes[cell.regime].tuned]


def asked_as(recipe: Recipe, regime: str, task: str, model: str = BASE) -> TaskSection:
    """How a regime asks a model a task: as the task says, with what the model or the regime has of its own.

    `zero_shot` shows no solved questions whatever the model says; `few_shot` as many as the model, else it, says.
    """
    section, how = asked_of(recipe, task, model), recipe.regimes[regime]
    if how.tuned:
        return section
    own = recipe.models[model].shots if model in recipe.models else None
    shots = (how.shots if own is None else own) if how.kind == "few_shot" else 0
    return section.model_copy(update={"shots": shots, "shots_draw": how.shots_draw})


def asked_of(recipe: Recipe, task: str, model: str) -> TaskSection:
    """A task with the prompt, method and shots that a model has of its own; a prompt that is not chosen yet is not."""
    section, other = recipe.tasks[task], recipe.models.get(model)
    if other is None:
        return section
    prompt = None if isinstance(other.prompt, ChooseSection) else other.prompt
    own = {"prompt": prompt, "method": other.method, "shots": other.shots}
    return section.model_copy(update={key: value for key, value in own.items() if value is not None})
