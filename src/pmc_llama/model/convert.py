"""Old checkpoints (pytorch_model*.bin, which are pickles) to safetensors, without running what a pickle might hold."""

import pickle
import shutil
from pathlib import Path

import torch

from pmc_llama.errors import InputError
from pmc_llama.files import write_json
from pmc_llama.model.save import save_tensors


def convert_bin(folder: Path, out: Path) -> None:
    """Write the model in `folder` to `out`, file by file; configuration and tokenizer are copied.

    Only tensors are read (`weights_only`), in the format they have. Anything else in a file raises InputError.
    """
    files = sorted(folder.glob("pytorch_model*.bin"))
    if out.exists():
        raise InputError(f"{out} exists; give a folder that does not")
    if not files:
        raise InputError(f"model {folder} has no pytorch_model*.bin")
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    index: dict[str, str] = {}
    total_bytes = 0
    for number, file in enumerate(files, 1):
        name = "model.safetensors" if len(files) == 1 else f"model-{number:05d}-of-{len(files):05d}.safetensors"
        tensors = _read(file)
        save_tensors(tensors, partial / name)
        index |= dict.fromkeys(tensors, name)
        total_bytes += sum(tensor.nbytes for tensor in tensors.values())
    if len(files) > 1:
        value = {"metadata": {"total_size": total_bytes}, "weight_map": index}
        write_json(partial / "model.safetensors.index.json", value)
    for other in [*folder.glob("*.json"), *folder.glob("*.model")]:
        if not other.name.startswith("pytorch_model"):
            shutil.copy(other, partial)
    partial.rename(out)


def _read(file: Path) -> dict[str, torch.Tensor]:
    """Parameters, each with storage of its own; RoPE frequencies, which old files hold, are left out."""
    try:
        found = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise InputError(f"{file}: not a file of tensors alone: {error}") from None
    return {
        name: tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in found.items()
        if not name.endswith("rotary_emb.inv_freq")
    }
