"""Hugging Face folders of models: where they are, and what they must hold."""

from pathlib import Path
from typing import TYPE_CHECKING

from pmc_llama.errors import InputError
from pmc_llama.hub import MODEL_FILES, hub_folder, is_hub_id
from pmc_llama.model.weights import weight_files

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def local_folder(path: str | Path) -> Path:
    """The model's folder on this machine; a hub id is downloaded (safetensors, configuration and tokenizer only)."""
    if Path(path).is_dir():
        return Path(path)
    if isinstance(path, Path) or not is_hub_id(path):
        raise InputError(f"model {path} is not a folder (expected a Hugging Face folder, or a hub id `owner/name`)")
    return hub_folder(path, MODEL_FILES)


def read_config(folder: Path) -> "PretrainedConfig":
    """The configuration of a model's folder, whose own code is never run. Raises InputError where there is none."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StrictDataclassError) as error:
        raise InputError(f"model {folder}: no usable config.json: {first_line(error)}") from None


def refuse_weights(folder: Path) -> None:
    """Raise InputError for a folder without configuration, or whose safetensors files are not all there."""
    if not (folder / "config.json").is_file():
        raise InputError(f"model {folder} has no config.json")
    files = weight_files(folder)
    if not files:
        old = any(folder.glob("pytorch_model*.bin"))
        hint = ", only pytorch_model*.bin: convert it first (pmc-llama convert)" if old else ""
        raise InputError(f"model {folder} has no model.safetensors{hint}")
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise InputError(f"model {folder} lacks {missing[0]}, which its index names")


def first_line(error: BaseException) -> str:
    """What an error of a library says first; of a model with code of its own it would say how to run that code."""
    if "trust_remote_code" in str(error):
        return "it brings code of its own, and code that comes with a model is never run"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Class validation error")] or [type(error).__name__]
    return lines[0].removeprefix("ValueError: ")
