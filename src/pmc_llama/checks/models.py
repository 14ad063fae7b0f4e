"""The base model, the tokenizer and LoRA's targets, by their configurations: no weights are read."""

from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from pmc_llama.checks.common import told, written_later
from pmc_llama.errors import InputError, PmcLlamaError
from pmc_llama.hub import MODEL_FILES, cached_folder, hub_problem, is_hub_id
from pmc_llama.model.accepted import refuse_length
from pmc_llama.model.folders import refuse_weights
from pmc_llama.model.load import ModelOrigin, configuration, shape_on_meta
from pmc_llama.model.reading import match_weights
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.inputs import base_model_path, tokenizer_path
from pmc_llama.recipe.training import TrainSection
from pmc_llama.tokens.encode import hf_tokenizer, load_encoder


def tokenizer_problems(recipe: Recipe, stages: Set[str]) -> Iterator[str]:
    """A tokenizer that is not there, cannot be read, never ends a text, or has not one way to encode a text."""
    found: list[str] = []
    tokenizer = _tokenizer(recipe, found)
    if tokenizer is not None:
        with told(found, "tokenizer.path"):
            load_encoder(tokenizer_path(recipe))
    if tokenizer is not None and tokenizer.eos_token_id is None:
        found.append(
            "tokenizer.path: the tokenizer has no end-of-text token: nothing would end a document or an answer"
        )
    yield from found


def base_problems(recipe: Recipe, stages: Set[str]) -> Iterator[str]:
    """A base that is not there, whose weights are not safetensors or not all there, or that takes no such tokens."""
    found: list[str] = []
    folder = base_folder(recipe, found)
    if folder is not None:
        with told(found, "base.path"):
            refuse_weights(folder)
    tokenizer = _tokenizer(recipe, [])
    origin = _origin(recipe, folder)
    if tokenizer is not None and origin is not None:
        with told(found, "base"):
            config = configuration(origin, tokenizer)
            model = shape_on_meta(config, None)
            for where, section in _trainings(recipe):
                refuse_length(config, section.seq_len, where)
            if folder is not None:
                match_weights(model, folder)
    yield from found


def adapter_problems(recipe: Recipe, stages: Set[str]) -> Iterator[str]:
    """LoRA targets that the model does not have, or that cannot be trained."""
    found: list[str] = []
    origin, tokenizer = _origin(recipe, base_folder(recipe, [])), _tokenizer(recipe, [])
    for name, regime in recipe.regimes.items():
        if regime.lora is not None and origin is not None and tokenizer is not None:
            with told(found, f"regimes.{name}"):
                shape_on_meta(configuration(origin, tokenizer), regime.lora)
    yield from found


def _trainings(recipe: Recipe) -> Iterator[tuple[str, TrainSection]]:
    """All trainings of a recipe, by their keys."""
    yield "pretrain", recipe.pretrain
    yield from ((f"regimes.{name}", regime) for name, regime in recipe.regimes.items() if regime.tuned)


def base_folder(recipe: Recipe, found: list[str]) -> Path | None:
    """The folder of the base that a recipe names, if it is on this machine; what is wrong is added to `found`."""
    if recipe.base.path is None:
        return None
    path = base_model_path(recipe)
    if Path(path).is_dir():
        return Path(path)
    if not is_hub_id(str(path)):
        found.append(f"base.path: {recipe.base.path!r} is neither a folder nor a hub id `owner/name`")
        return None
    cached = cached_folder(str(path), MODEL_FILES)
    if cached is None and (problem := hub_problem(str(path))) is not None:
        found.append(f"base.path: {problem}")
    return cached


def max_positions(recipe: Recipe) -> int | None:
    """How many tokens the base takes, where that can be known."""
    origin, tokenizer = _origin(recipe, base_folder(recipe, [])), _tokenizer(recipe, [])
    if origin is None or tokenizer is None:
        return None
    try:
        return int(configuration(origin, tokenizer).max_position_embeddings)
    except (PmcLlamaError, AttributeError):
        return None


def _origin(recipe: Recipe, folder: Path | None) -> ModelOrigin | None:
    if recipe.base.config is not None:
        return ModelOrigin(config=recipe.base.config)
    return None if folder is None or not (folder / "config.json").is_file() else ModelOrigin(path=folder)


def _tokenizer(recipe: Recipe, found: list[str]) -> Any:
    if written_later(recipe, recipe.tokenizer.path):
        return None
    with told(found, "tokenizer.path"):
        path = tokenizer_path(recipe)
        if not path.exists():
            raise InputError(f"{path} does not exist: expected a `tokenizer.model`, a Hugging Face folder, or a hub id")
        return hf_tokenizer(path)
    return None
