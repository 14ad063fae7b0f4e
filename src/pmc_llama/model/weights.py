"""Which files of a folder are a model's weights."""

from pathlib import Path

from pmc_llama.files import read_json

INDEX = "model.safetensors.index.json"


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold a model's weights: those that its index names, else `model.safetensors`."""
    index, single = folder / INDEX, folder / "model.safetensors"
    if index.is_file():
        return [folder / name for name in sorted(set(read_json(index)["weight_map"].values()))]
    return [single] if single.is_file() else sorted(folder.glob("*.safetensors"))
