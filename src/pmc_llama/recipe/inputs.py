"""Where a recipe's inputs and models lie."""

from pathlib import Path

from pmc_llama.errors import InputError
from pmc_llama.hub import TOKENIZER_FILES, hub_folder, is_hub_id
from pmc_llama.recipe import Recipe
from pmc_llama.run_dir import RunDir


def input_files(root: Path, patterns: list[str]) -> list[Path]:
    """The files that the patterns name, relative to `root` or absolute, sorted within each pattern.

    Raises InputError for a pattern that names no file: a source that is silently empty is the worst kind of typo.
    """
    found: list[Path] = []
    for pattern in patterns:
        base, relative = (Path("/"), pattern.lstrip("/")) if pattern.startswith("/") else (root, pattern)
        matches = sorted(base.glob(relative))
        if not matches:
            raise InputError(f"no file matches {pattern!r} under {base}; relative paths start from data.root")
        found += matches
    return found


def tokenizer_path(recipe: Recipe) -> Path:
    """The tokenizer's file or folder; that of a hub id is downloaded. Raises InputError where that fails."""
    path = recipe.tokenizer.path
    is_file = path.endswith((".model", ".json"))  # one that is missing is an error to tell at once, not a download
    if is_hub_id(path) and not is_file and not (recipe.data_root / path).exists():
        return hub_folder(path, TOKENIZER_FILES)
    return recipe.data_root / path


def base_model_path(recipe: Recipe) -> Path | str:
    """The base model: a folder, or a hub id as the recipe gives it."""
    if recipe.base.path is None:
        return RunDir(recipe.run_path).base_model
    local = recipe.data_root / recipe.base.path
    return local if local.is_dir() else recipe.base.path


def adapted_model_path(recipe: Recipe, pretrain_seed: int | None = None) -> Path:
    """Where the model is exported after continued pre-training; with a seed that of a further pre-training."""
    return RunDir(recipe.run_path).adapted_model_of(pretrain_seed)
