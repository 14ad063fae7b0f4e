"""The further models of a recipe: whether each is there and can be asked; no weights are read."""

import os
from collections.abc import Iterator, Set
from pathlib import Path

from pmc_llama.checks.common import told, written_later
from pmc_llama.errors import InputError, RecipeError
from pmc_llama.experiment.choosing import choosers, dev_tasks
from pmc_llama.experiment.models import predictions_file, starting_folder, weights_of
from pmc_llama.hub import MODEL_FILES, cached_folder, hub_problem, is_hub_id
from pmc_llama.model.folders import refuse_weights
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.models import ModelSection
from pmc_llama.tokens.encode import hf_tokenizer


def further_model_problems(recipe: Recipe, stages: Set[str]) -> Iterator[str]:
    """Models, answers or keys that are not there, and adapters that cannot be tuned further."""
    found: list[str] = []
    for name in choosers(recipe):
        with told(found, f"models.{name}"):
            dev_tasks(recipe, name)
    for name, section in recipe.models.items():
        with told(found, f"models.{name}"):
            _look_at(recipe, name, section)
    yield from found


def _look_at(recipe: Recipe, name: str, section: ModelSection) -> None:
    if section.endpoint is not None:
        if section.key_env is not None and section.key_env not in os.environ:
            raise RecipeError(f"key_env: the environment variable {section.key_env} is not set")
    elif section.predictions is not None:
        if not written_later(recipe, section.predictions):
            predictions_file(recipe, name)
    elif section.merge is None:
        _look_at_weights(recipe, name, section)


def _look_at_weights(recipe: Recipe, name: str, section: ModelSection) -> None:
    local = section.path is None or (recipe.data_root / section.path).is_dir()
    if (
        not local
        and is_hub_id(str(section.path))
        and cached_folder(str(section.path), MODEL_FILES, section.revision) is None
    ):
        if (problem := hub_problem(str(section.path))) is not None:
            raise InputError(problem)
        return  # it is downloaded when it is needed
    found = weights_of(recipe, name)
    refuse_weights(Path(found.folder))
    if hf_tokenizer(found.tokenizer).eos_token_id is None:
        raise InputError(f"{found.tokenizer}: the tokenizer has no end-of-text token: nothing would end an answer")
    if section.tuned:
        starting_folder(recipe, name)
