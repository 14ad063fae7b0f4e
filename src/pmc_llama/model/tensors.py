"""Safetensors files, read a tensor or some of its rows at a time.

The library's default maps whole files into memory, whose pages count as the process's own until the file is closed:
beside a whole model that is twice the memory. So whole tensors are read one by one. Some rows of a tensor, as a shard
needs them, are taken from a map of the file, of which only those pages are touched; the library reads the whole tensor
for them otherwise.
"""

import math
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pmc_llama.errors import InputError
from pmc_llama.model.weights import weight_files

PART_BYTES = 2**26
"""What is held beside the shard that is filled."""
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class TensorFile:
    """One safetensors file. Raises InputError where it is damaged, cut off, or no such file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mapped: Any = None
        try:
            self._file: Any = safe_open(str(path), "pt", backend="pread")
        except (OSError, SafetensorError) as error:
            pointer = path.is_file() and path.stat().st_size < 1000 and b"git-lfs" in path.read_bytes()
            why = "a pointer of git-lfs, not the file itself" if pointer else error
            raise InputError(f"{path} is no whole safetensors file (download it again): {why}") from None

    def names(self) -> list[str]:
        """Names of the tensors, in the header's order."""
        return list(self._file.keys())

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return tuple(self._file.get_slice(name).get_shape())

    def dtype(self, name: str) -> torch.dtype:
        """Type of a tensor's values. Raises InputError for one that torch has not."""
        kind = self._file.get_slice(name).get_dtype()
        if kind not in _DTYPES:
            raise InputError(f"{self.path}: {name} is of type {kind}, which cannot be read here")
        return _DTYPES[kind]

    def nbytes(self, name: str) -> int:
        """Bytes of a tensor in the file."""
        return math.prod(self.shape(name)) * self.dtype(name).itemsize

    def read(self, name: str, first: int = 0, count: int | None = None) -> Tensor:
        """A tensor in memory of its own; with `first` and `count`, those of its rows (of dimension 0)."""
        shape = self.shape(name)
        try:
            if count is None or (shape and count == shape[0]):
                return cast(Tensor, self._file.get_tensor(name))
            if count == 0 or 0 in shape:
                return torch.empty((count, *shape[1:]), dtype=self.dtype(name))
            self._mapped = self._mapped or safe_open(str(self.path), "pt")
            return cast(Tensor, self._mapped.get_slice(name)[first : first + count])
        except (OSError, SafetensorError) as error:
            raise InputError(f"{self.path}: {name} cannot be read: {error}") from None

    def lazily(self, name: str) -> Any:
        """The library's handle of a tensor, as transformers takes it in place of the tensor."""
        return self._file.get_slice(name)

    def read_into(self, name: str, target: Tensor, first: int = 0) -> None:
        """Fill `target` with rows `first`, first + 1 … of a tensor, cast to its type; shards a part at a time."""
        if target.shape == self.shape(name):
            target.copy_(self.read(name))
            return
        row_bytes = max(1, math.prod(target.shape[1:]) * self.dtype(name).itemsize)
        step = max(1, PART_BYTES // row_bytes)
        for start in range(0, len(target), step):
            count = min(step, len(target) - start)
            target[start : start + count].copy_(self.read(name, first + start, count))


def tensor_files(folder: Path) -> dict[str, TensorFile]:
    """Which file holds each tensor of a model's folder. Raises InputError for files that are damaged or not there."""
    found: dict[str, TensorFile] = {}
    for path in weight_files(folder):
        file = TensorFile(path)
        for name in file.names():
            if name in found:
                raise InputError(f"model {folder}: {name} is in {found[name].path.name} and in {path.name}")
            found[name] = file
    return found
