"""Other forms of checkpoints to a folder of safetensors, without running what they might hold.

Old ones are pytorch_model*.bin, which are pickles; GGUF is read by `gguf.py`.
"""

import pickle
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pmc_llama.errors import InputError
from pmc_llama.files import told_where, write_json
from pmc_llama.model.gguf import write_gguf
from pmc_llama.model.save import save_tensors
from pmc_llama.model.weights import INDEX, part_name
from pmc_llama.progress import Progress

_WRAPPERS = ("model", "state_dict", "module", "model_state_dict")
"""Under which training programs keep the weights beside their own state."""
_KEPT = {
    ".json",
    ".jsonl",
    ".jinja",
    ".model",
    ".txt",
    ".md",
    ".rst",
    ".yaml",
    ".yml",
    ".pdf",
    ".html",
    ".tiktoken",
    "",
}
"""Kinds of files that stay with a model: configuration, tokenizer, licence, card; no code and no pickles."""
_LARGEST_KEPT_BYTES = 64 * 2**20
_PICKLE = re.compile(rb"\x80[\x00-\x05]|PK\x03\x04")
"""How pickles begin, and the archives that PyTorch writes."""


def convert(source: Path, out: Path) -> None:
    """Write `source` (a .gguf file, a folder with one, or one with pytorch_model*.bin) to the new folder `out`.

    Raises InputError where it cannot be read, or holds more than a model.
    """
    if source.is_file():
        if source.suffix.lower() != ".gguf":
            raise InputError(f"{source} is no .gguf file; of pytorch_model*.bin give the folder")
        ggufs = [source]
    elif source.is_dir() and not any(source.glob("pytorch_model*.bin")):
        ggufs = sorted(source.glob("*.gguf"))
        if len(ggufs) > 1:
            raise InputError(f"{source} holds {len(ggufs)} .gguf files: name one of them, as {ggufs[0]}")
    else:
        ggufs = []
    if not ggufs:
        convert_bin(source, out)
        return
    with _new_folder(out) as partial:
        write_gguf(ggufs[0], partial)


def convert_bin(folder: Path, out: Path) -> None:
    """Write the model in `folder` to `out`, file by file; what is small and neither weights nor code comes along.

    Only tensors are read (`weights_only`), in the format they have. Anything else in a file raises InputError.
    """
    files = sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        raise InputError(f"model {folder} has no pytorch_model*.bin, and no .gguf")
    index: dict[str, str] = {}
    total_bytes = 0
    sizes = sum(file.stat().st_size for file in files)
    with _new_folder(out) as partial, Progress("convert", sizes / 1e6, "MB") as progress:
        for number, file in enumerate(files, 1):
            name = part_name(number, len(files))
            tensors = _owned(_read(file), progress)
            twice = sorted(set(tensors) & set(index))
            if twice:
                raise InputError(f"{file}: {twice[0]} was in an earlier file, too")
            save_tensors(tensors, partial / name)
            index |= dict.fromkeys(tensors, name)
            total_bytes += sum(tensor.nbytes for tensor in tensors.values())
        if len(files) > 1:
            value = {"metadata": {"total_size": total_bytes}, "weight_map": index}
            write_json(partial / INDEX, value)
        for other in sorted(folder.iterdir()):
            if _stays(other):
                shutil.copyfile(other, partial / other.name)


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder to write into that becomes `out` when all went well, and is gone when not."""
    if out.exists():
        raise InputError(f"{out} exists; give a folder that does not")
    partial = out.with_name(out.name + ".partial")
    with told_where(out):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            partial.rename(out)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def _stays(file: Path) -> bool:
    """Whether a file of the old folder belongs to the new one."""
    small = file.is_file() and file.stat().st_size <= _LARGEST_KEPT_BYTES
    if not small or file.suffix.lower() not in _KEPT or file.name.startswith((".", "pytorch_model")):
        return False
    with file.open("rb") as opened:
        return _PICKLE.match(opened.read(4)) is None


def _read(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file by name, lying in it where that is possible."""
    try:
        # before version 1.6 PyTorch wrote bare pickles, which cannot be mapped
        found = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except PermissionError:
        raise
    except Exception as error:  # a damaged pickle fails in any way
        raise InputError(f"{file}: not a file of tensors alone: {_reason(error)}") from None
    return _state(found, file)


def _reason(error: Exception) -> str:
    code = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
    return f"it would run {code[1]}" if code else f"damaged, or of another kind ({type(error).__name__})"


def _state(found: Any, file: Path) -> dict[str, torch.Tensor]:
    """The tensors by name, also if they lie one level down; raises InputError for anything else in their place."""
    if isinstance(found, Mapping):
        inner = [key for key in _WRAPPERS if isinstance(found.get(key), Mapping)]
        if len(inner) == 1 and not any(isinstance(value, torch.Tensor) for value in found.values()):
            found = found[inner[0]]
    if not isinstance(found, Mapping) or not found:
        kind = f"a {type(found).__name__}" if not isinstance(found, Mapping) else "nothing"
        raise InputError(f"{file}: not a file of tensors alone: it holds {kind}, expected tensors by their names")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise InputError(f"{file}: {name!r} is a {type(value).__name__}, expected tensors by their names")
    return dict(found)


def _owned(tensors: dict[str, torch.Tensor], progress: Progress) -> dict[str, torch.Tensor]:
    """Each with storage of its own; RoPE frequencies, which old files hold, are left out."""
    owned = {}
    for name, tensor in tensors.items():
        if not name.endswith("rotary_emb.inv_freq"):
            owned[name] = tensor.clone(memory_format=torch.contiguous_format)
        progress.advance(tensor.nbytes / 1e6)
    return owned
