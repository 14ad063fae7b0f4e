"""Which files of a folder are a model's weights."""

from pathlib import Path

from pmc_llama.errors import InputError
from pmc_llama.files import read_json

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold a model's weights: those that its index names, else `model.safetensors`.

    Other files beside them (a backup, another precision) are never read. Raises InputError for a damaged index.
    """
    index, single = folder / INDEX, folder / SINGLE
    if index.is_file():
        try:
            return [folder / name for name in sorted(set(read_json(index)["weight_map"].values()))]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{index} is damaged: it has no `weight_map` from tensors to files") from None
    return [single] if single.is_file() else []


def part_name(number: int, count: int) -> str:
    """Name of file `number` (1 … `count`) of a model's weights."""
    return SINGLE if count == 1 else f"model-{number:05d}-of-{count:05d}.safetensors"
