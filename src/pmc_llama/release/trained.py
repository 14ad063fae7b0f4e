"""Which model of a run directory is meant: its folder, its adapter if it is one, and what it was made from."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pmc_llama.errors import InputError
from pmc_llama.files import read_json
from pmc_llama.recipe import Recipe, parse_recipe
from pmc_llama.recipe.inputs import adapted_model_path, base_model_path

TUNED = re.compile(r"(?P<regime>[^/]+)/(?P<model>base|adapted)/seed-(?P<seed>\d+)")


@dataclass(frozen=True)
class Trained:
    """A model of a run. `folder` holds whole weights; with `adapter`, the model is those weights and the adapter."""

    run_dir: Path
    which: str
    recipe: Recipe
    folder: Path | str
    adapter: Path | None = None

    @property
    def name(self) -> str:
        """A name for cards and servers."""
        return "-".join([self.recipe.name, *self.which.split("/")])


def read_recipe(run_dir: Path) -> Recipe:
    """The resolved recipe of a run, with `run_dir` as the directory is called now."""
    file = run_dir / "recipe.yaml"
    if not file.is_file():
        raise InputError(f"{run_dir} is not a run directory: it has no recipe.yaml")
    recipe = parse_recipe(yaml.safe_load(file.read_text()), str(file))
    return recipe.model_copy(update={"run_dir": str(run_dir)})


def find_model(run_dir: Path, which: str) -> Trained:
    """The model that `which` names: `base`, `adapted`, or a tuned one as `<regime>/<base|adapted>/seed-<n>`.

    Raises InputError that lists the models there are if it is not among them.
    """
    recipe = read_recipe(run_dir)
    if which == "base":
        return Trained(run_dir, which, recipe, base_model_path(recipe))
    folder = adapted_model_path(recipe) if which == "adapted" else run_dir / "tune" / which / "model"
    named = TUNED.fullmatch(which)
    if not folder.is_dir() or not (which == "adapted" or named):
        raise InputError(f"{run_dir} has no model {which!r}; it has {', '.join(models_of(run_dir, recipe))}")
    if not (folder / "adapter_config.json").is_file():
        return Trained(run_dir, which, recipe, folder)
    assert named is not None
    start = base_model_path(recipe) if named["model"] == "base" else adapted_model_path(recipe)
    return Trained(run_dir, which, recipe, start, adapter=folder)


def revisions_of(run_dir: Path) -> list[Path]:
    """The run directories of this revision and of all before it, the newest first."""
    found = [run_dir]
    while (update := read_recipe(found[-1]).update) is not None:
        found.append(update.run_path)
    return found


def first_recipe(run_dir: Path) -> Recipe:
    """The recipe that a run and the revisions before it started from: it names the base model of them all."""
    return read_recipe(revisions_of(run_dir)[-1])


def models_of(run_dir: Path, recipe: Recipe) -> list[str]:
    """Names of all models of a run, as `find_model` takes them."""
    adapted = ["adapted"] if adapted_model_path(recipe).is_dir() else []
    tuned = sorted(str(path.parent.relative_to(run_dir / "tune")) for path in run_dir.glob("tune/*/*/seed-*/model"))
    return ["base", *adapted, *tuned]


def read_if_there(path: Path) -> Any:
    """The value of a JSON file, or None where there is no such file."""
    return read_json(path) if path.is_file() else None
