"""Where a recipe's inputs lie, and a cheap fingerprint that tells when one was changed."""

from pathlib import Path
from typing import Any

from pmc_llama.errors import InputError
from pmc_llama.hub import TOKENIZER_FILES, hub_folder, is_hub_id
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.corpus import CorpusSection


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


def fingerprint(recipe: Recipe, patterns: list[str]) -> list[Any]:
    """Name, size and time of each input file. Files that MiniMed writes are left to that stage's own stamp."""
    if recipe.minimed is not None and recipe.data.root is None:
        return []
    stats = [(path, path.stat()) for path in input_files(recipe.data_root, patterns)]
    return [[path.name, stat.st_size, stat.st_mtime_ns] for path, stat in stats]


def corpus_patterns(section: CorpusSection) -> list[str]:
    """All input paths of a corpus, with the tables that complete its sources."""
    patterns = [
        pattern
        for source in section.sources
        for pattern in (*source.paths, *source.papers, *filter(None, [source.pmc_ids]), *source.deleted)
    ]
    return [*patterns, *filter(None, [section.clean.word_counts])]


def corpus_path(recipe: Recipe, name: str) -> Path:
    """Where a corpus of the recipe is built."""
    return recipe.run_path / "extra" / name if name in recipe.extra else recipe.run_path / name


def evaluation_settings(recipe: Recipe, exclude: frozenset[str] = frozenset()) -> dict[str, Any]:
    """What decides the test questions of each task and, without `exclude`, how they are asked."""
    return {
        name: [
            task.settings(frozenset({"train", "fold"}) | exclude),
            fingerprint(recipe, [path for path in (task.test, task.test_ids) if path is not None]),
        ]
        for name, task in recipe.tasks.items()
        if task.test is not None
    }


def tokenizer_path(recipe: Recipe) -> Path:
    """The tokenizer's file or folder; that of a hub id is downloaded. Raises InputError where that fails."""
    if _tokenizer_is_on_hub(recipe):
        return hub_folder(recipe.tokenizer.path, TOKENIZER_FILES)
    return recipe.data_root / recipe.tokenizer.path


def tokenizer_fingerprint(recipe: Recipe) -> list[Any]:
    """What tells that the tokenizer is another one, without downloading it: its hub id, else its file."""
    path = recipe.tokenizer.path
    return [path] if _tokenizer_is_on_hub(recipe) else fingerprint(recipe, [path])


def _tokenizer_is_on_hub(recipe: Recipe) -> bool:
    path = recipe.tokenizer.path
    is_file = path.endswith((".model", ".json"))  # one that is missing is an error to tell at once, not a download
    return is_hub_id(path) and not is_file and not (recipe.data_root / path).exists()


def base_model_path(recipe: Recipe) -> Path | str:
    """The base model: a folder, or a hub id as the recipe gives it."""
    if recipe.base.path is None:
        return scratch_model_path(recipe)
    local = recipe.data_root / recipe.base.path
    return local if local.is_dir() else recipe.base.path


def scratch_model_path(recipe: Recipe) -> Path:
    """Where a base model from scratch is exported."""
    return recipe.run_path / "models" / "base"


def adapted_model_path(recipe: Recipe) -> Path:
    """Where the model is exported after continued pre-training."""
    return recipe.run_path / "models" / "adapted"
