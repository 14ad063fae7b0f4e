"""Which files of a folder are a model's weights."""

from pathlib import Path

from pmc_llama.errors import InputError
from pmc_llama.files import read_json

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold a model's weights: those that its index names, else `model.safetensors`.

    A single file of another name is taken, several are not: one may be a backup or another precision of the other.
    Raises InputError where nothing says which files count.
    """
    index, single = folder / INDEX, folder / SINGLE
    if index.is_file():
        try:
            return [folder / name for name in sorted(set(read_json(index)["weight_map"].values()))]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{index} is damaged: it has no `weight_map` from tensors to files") from None
    if single.is_file():
        return [single]
    others = sorted(folder.glob("*.safetensors"))
    if len(others) > 1:
        raise InputError(
            f"model {folder} has neither {SINGLE} nor {INDEX}, but {len(others)} other files "
            f"({others[0].name}, {others[1].name} …): which of them are its weights, nothing says"
        )
    return others
