"""The models of the grid: where each is, what turns texts into its ids, and what asks it."""

from pathlib import Path
from shutil import copyfile
from typing import NamedTuple

from pmc_llama.errors import InputError
from pmc_llama.hub import MODEL_FILES, TOKENIZER_FILES, hub_folder, is_hub_id
from pmc_llama.qa.backends import Model
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.comparisons import BASE
from pmc_llama.recipe.inputs import adapted_model_path, base_model_path, input_files, tokenizer_path
from pmc_llama.recipe.models import ModelSection
from pmc_llama.recipe.qa import EvaluateSection
from pmc_llama.release.trained import find_model
from pmc_llama.run_dir import RunDir
from pmc_llama.tokens.encode import hf_tokenizer


class Weights(NamedTuple):
    """A model that is loaded here: its folder or hub id, its tokenizer's file or folder, and its LoRA adapter."""

    folder: Path | str
    tokenizer: Path
    adapter: Path | None = None


def weights_of(recipe: Recipe, model: str, pretrain_seed: int | None = None) -> Weights:
    """The weights that a model's cells start from; `pretrain_seed`: those of a further pre-training.

    Raises InputError where they are not there.
    """
    if model in recipe.models:
        section = recipe.models[model]
        if section.merge is not None:
            tokenizer = own_tokenizer(recipe, section) or weights_of(recipe, section.merge.of[0]).tokenizer
            return Weights(RunDir(recipe.run_path).merged_model(model), tokenizer)
        return _further_weights(recipe.models[model], recipe.data_root, f"models.{model}.path")
    folder = base_model_path(recipe) if model == BASE else adapted_model_path(recipe, pretrain_seed)
    return Weights(folder, tokenizer_path(recipe))


def predictions_file(recipe: Recipe, model: str) -> Path:
    """The file that a model's answers are taken from. Raises InputError where there is none."""
    named = recipe.models[model].predictions
    assert named is not None
    return input_files(recipe.data_root, [named])[0]


def own_tokenizer(recipe: Recipe, section: ModelSection) -> Path | None:
    """The tokenizer that a model's section names."""
    return _named_tokenizer(section, recipe.data_root)


def _named_tokenizer(section: ModelSection, root: Path) -> Path | None:
    if section.tokenizer is None:
        return None
    local = root / section.tokenizer
    if local.exists() or not is_hub_id(section.tokenizer):
        return local
    return hub_folder(section.tokenizer, TOKENIZER_FILES)


def _further_weights(section: ModelSection, root: Path, key: str) -> Weights:
    tokenizer = _named_tokenizer(section, root)
    if section.run is not None:
        found = find_model(Path(section.run), section.model or "adapted")
        return Weights(found.folder, tokenizer or tokenizer_path(found.recipe), found.adapter)
    assert section.path is not None
    local = root / section.path
    if not local.is_dir() and not is_hub_id(section.path):
        raise InputError(f"{key}: {local} is not a folder, nor {section.path!r} a hub id `owner/name`")
    folder = local if local.is_dir() else hub_folder(section.path, MODEL_FILES, section.revision)
    return Weights(folder, tokenizer or folder)


def starting_folder(recipe: Recipe, model: str, pretrain_seed: int | None = None) -> Path | str:
    """The folder that tuning a model starts from. Raises InputError for a LoRA adapter, which is to be merged first."""
    found = weights_of(recipe, model, pretrain_seed)
    if found.adapter is not None:
        raise InputError(f"models.{model}: a LoRA adapter cannot be tuned further: merge it first (pmc-llama export)")
    return found.folder


def merge_models(recipe: Recipe, model: str, out: Path) -> None:
    """Write the merge that a model's section names as a folder. Raises InputError for models that do not fit together,
    and for LoRA adapters, which are to be merged into their base first.
    """
    from pmc_llama.model.average import Rule, average_weights
    from pmc_llama.model.folders import local_folder

    section = recipe.models[model].merge
    assert section is not None
    folders = [local_folder(starting_folder(recipe, part)) for part in section.of]
    out.mkdir(parents=True, exist_ok=True)
    rule = Rule(section.method, section.weight, section.density, recipe.seed)
    average_weights(folders, out, rule)
    for name in ("config.json", "generation_config.json"):
        if (folders[-1] / name).is_file():
            copyfile(folders[-1] / name, out / name)
    hf_tokenizer(weights_of(recipe, model).tokenizer).save_pretrained(out)


def model_of(recipe: Recipe, model: str, pretrain_seed: int | None = None) -> Model:
    """A model as it is before tuning, ready to be opened. Raises InputError where something is missing."""
    section = recipe.models.get(model)
    if section is not None and section.merge is None:
        return found_model(section, recipe.evaluate, recipe.data_root, f"models.{model}.path")
    found = weights_of(recipe, model, pretrain_seed)
    section = section or ModelSection(path=str(found.folder))
    return Model(section, recipe.evaluate, hf_tokenizer(found.tokenizer), found.folder, found.adapter)


def found_model(section: ModelSection, evaluate: EvaluateSection, root: Path, key: str) -> Model:
    """The model that a section names, ready to be opened; paths start from `root`, errors name `key`."""
    if section.predictions is not None:
        return Model(section, evaluate, file=input_files(root, [section.predictions])[0])
    if section.merge is not None:
        raise InputError(f"{key}: models are merged in a recipe only (`models`)")
    if section.endpoint is not None:
        path = _named_tokenizer(section, root)
        return Model(section, evaluate, tokenizer=None if path is None else hf_tokenizer(path))
    found = _further_weights(section, root, key)
    return Model(section, evaluate, hf_tokenizer(found.tokenizer), found.folder, found.adapter)
