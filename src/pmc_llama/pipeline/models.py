"""What decides a model's answers besides the questions: its settings, its files, and the code that asks it."""

from typing import Any

from pmc_llama.experiment.choosing import choosers
from pmc_llama.experiment.models import own_tokenizer, predictions_file, weights_of
from pmc_llama.model.folders import local_folder
from pmc_llama.pipeline.identity import Input, model_inputs, tokenizer_files, tokenizer_inputs
from pmc_llama.qa.backends import BACKENDS
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.comparisons import ADAPTED, BASE
from pmc_llama.recipe.effects import Artefact
from pmc_llama.records.stamps import choice_work, merge_work, pretrain_work

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def further_settings(recipe: Recipe, model: str, for_: Artefact) -> dict[str, Any]:
    """What a further model's section decides; nothing for base and adapted.

    Whether it is tuned decides which cells there are, and nothing in a cell.
    """
    if model not in recipe.models:
        return {}
    settings = recipe.models[model].settings(for_)
    return {"model": {key: value for key, value in settings.items() if key != "tuned"}}


def model_inputs_of(recipe: Recipe, model: str) -> list[Input]:
    """The files that a model's answers depend on: its tokenizer, and of a further model its weights or its answers."""
    section = recipe.models.get(model)
    if section is None:
        return tokenizer_inputs(recipe, template=True)
    if section.predictions is not None:
        return [Input("model/predictions.parquet", (str(predictions_file(recipe, model)),))]
    if section.endpoint is not None:
        path = own_tokenizer(recipe, section)
        return [] if path is None else tokenizer_files(path, f"models.{model}.tokenizer", template=True)
    found = weights_of(recipe, model)
    if section.merge is not None:  # its weights are what the work that it builds on made
        return tokenizer_files(found.tokenizer, f"models.{model}", template=True)
    files = [] if found.adapter is None else [found.adapter / name for name in ADAPTER_FILES]
    adapter = [Input(f"adapter/{file.name}", (str(file),)) for file in files]
    return (
        model_inputs(local_folder(found.folder))
        + adapter
        + tokenizer_files(found.tokenizer, f"models.{model}", template=True)
    )


def origin_of(recipe: Recipe, model: str, pretrain_seed: int | None = None) -> tuple[str, ...]:
    """The piece of work that makes the model which is asked or tuned; most further models are made elsewhere."""
    section = recipe.models.get(model)
    if section is not None:
        return (merge_work(model),) if section.merge is not None else ()
    return {BASE: ("base",), ADAPTED: (pretrain_work(pretrain_seed),)}.get(model, ())


def chosen_by(recipe: Recipe, model: str) -> tuple[str, ...]:
    """The piece of work that chooses a model's prompt, if there is one."""
    return (choice_work(model),) if model in choosers(recipe) else ()


def asking_module(recipe: Recipe, model: str) -> str:
    """The module that asks a model; a change of it makes that model's answers stale."""
    section = recipe.models.get(model)
    kind = "folder" if section is None or section.local else section.kind
    return BACKENDS[kind].partition(":")[0]
