"""Which model of a run directory is meant: its folder, its adapter if it is one, and what it was made from."""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from pmc_llama.errors import InputError
from pmc_llama.recipe import Recipe, parse_recipe
from pmc_llama.recipe.comparisons import FURTHER_ADAPTED
from pmc_llama.recipe.inputs import base_model_path
from pmc_llama.records.stamps import pretrain_work, tuning_work
from pmc_llama.run_dir import RunDir

TUNED = re.compile(r"(?P<regime>[^/]+)/(?P<model>[^/]+)/seed-(?P<seed>\d+)")


@dataclass(frozen=True)
class Trained:
    """A model of a run. `folder` holds whole weights; with `adapter`, the model is those weights and the adapter."""

    run: RunDir
    which: str
    recipe: Recipe
    folder: Path | str
    adapter: Path | None = None

    @property
    def work(self) -> str:
        """The piece of work that made it."""
        named = TUNED.fullmatch(self.which)
        if named is None:
            return "base" if self.which == "base" else pretrain_work(_further_seed(self.which))
        return tuning_work(f"{named['regime']}-{named['model']}-seed-{named['seed']}")

    @property
    def name(self) -> str:
        """A name for cards and servers."""
        return "-".join([self.recipe.name, *self.which.split("/")])


def read_recipe(run_dir: Path) -> Recipe:
    """The resolved recipe of a run's last call, with `run_dir` as the directory is called now."""
    file = RunDir(run_dir).recipe
    if not file.is_file():
        raise InputError(f"{run_dir} is not a run directory: it has no recipe.yaml")
    return recipe_from(file, run_dir)


def recipe_from(file: Path, run_dir: Path) -> Recipe:
    """A resolved recipe that a run kept, with `run_dir` as the directory is called now."""
    recipe = parse_recipe(yaml.safe_load(file.read_text()), str(file))
    return recipe.model_copy(update={"run_dir": str(run_dir)})


def find_model(run_dir: Path, which: str) -> Trained:
    """The model that `which` names: `base`, `adapted`, or a tuned one as `<regime>/<model>/seed-<n>`.

    `adapted-pretrain-<n>` is the adapted model of a further pre-training seed, here and in names of tuned models.

    Raises InputError that lists the models there are if it is not among them.
    """
    recipe, run = read_recipe(run_dir), RunDir(run_dir)
    if which == "base":
        return Trained(run, which, recipe, base_model_path(recipe))
    adapted = which == "adapted" or FURTHER_ADAPTED.fullmatch(which) is not None
    folder = run.adapted_model_of(_further_seed(which)) if adapted else run.tuned_by_name(which)
    named = TUNED.fullmatch(which)
    if not folder.is_dir() or not (adapted or named):
        raise InputError(f"{run_dir} has no model {which!r}; it has {', '.join(models_of(run))}")
    if not (folder / "adapter_config.json").is_file():
        return Trained(run, which, recipe, folder)
    assert named is not None
    of = named["model"]
    start = base_model_path(recipe) if of == "base" else run.adapted_model_of(_further_seed(of))
    return Trained(run, which, recipe, start, adapter=folder)


def _further_seed(model: str) -> int | None:
    """The pre-training seed in an adapted model's name; None for the first one."""
    named = FURTHER_ADAPTED.fullmatch(model)
    return None if named is None else int(named[1])


def pretraining_of(model: str, recipe: Recipe) -> tuple[str, int]:
    """A model's name in the results, and the pre-training seed of an adapted one."""
    seed = _further_seed(model)
    return ("adapted", seed) if seed is not None else (model, recipe.pretrain_seeds[0])


def revisions_of(run_dir: Path) -> list[Path]:
    """The run directories of this revision and of all before it, the newest first."""
    found = [run_dir]
    while (update := read_recipe(found[-1]).update) is not None:
        found.append(update.run_path)
    return found


def on_invented_questions(run_dir: Path) -> bool:
    """Whether a run's questions are of MiniMed's world: written by it, by a revision before it, or by a run named."""
    recipes = [read_recipe(run) for run in revisions_of(run_dir)]
    written = RunDir(recipes[0].data_root.parent).recipe  # MiniMed writes into a run's data folder
    if written.is_file():
        recipes.append(recipe_from(written, written.parent))
    return any(recipe.minimed is not None for recipe in recipes)


def first_recipe(run_dir: Path) -> Recipe:
    """The recipe that a run and the revisions before it started from: it names the base model of them all."""
    return read_recipe(revisions_of(run_dir)[-1])


def models_of(run: RunDir) -> list[str]:
    """Names of all models of a run, as `find_model` takes them."""
    adapted = ["adapted"] if run.adapted_model.is_dir() else []
    return ["base", *adapted, *run.further_adapted(), *run.tuned_models()]
