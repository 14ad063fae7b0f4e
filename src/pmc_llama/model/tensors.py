"""Safetensors files, read a tensor or some of its rows at a time.

The library maps whole files into memory, whose pages count as the process's own until the file is closed: beside a
model of the same size that is twice the memory. Here the bytes asked for are read, and no others.
Format: https://github.com/huggingface/safetensors#format (a length, a JSON header, the tensors' bytes).
"""

import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pmc_llama.errors import InputError
from pmc_llama.model.weights import weight_files

DTYPES = {
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
MAX_HEADER_BYTES = 100_000_000
"""The format's own bound."""
READ_BYTES = 2**30
"""Linux reads at most 2 GiB in one call."""


class TensorFile:
    """One safetensors file. Raises InputError where it is damaged, cut off, or no such file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._size = path.stat().st_size
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                if not 2 <= length <= min(MAX_HEADER_BYTES, self._size - 8):
                    raise InputError(f"{path} is no safetensors file, or is cut off ({self._size:,} bytes)")
                header: dict[str, Any] = json.loads(file.read(length))
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
        except ValueError:  # JSON or UTF-8
            raise InputError(f"{path} is no safetensors file: its header is damaged") from None
        header.pop("__metadata__", None)
        self._start = 8 + length
        self._entries = {name: self._entry(name, value) for name, value in header.items()}

    def names(self) -> list[str]:
        """Names of the tensors, in the header's order."""
        return list(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self._entries[name][1]

    def dtype(self, name: str) -> torch.dtype:
        """Type of a tensor's values."""
        return self._entries[name][0]

    def nbytes(self, name: str) -> int:
        """Bytes of a tensor in the file."""
        return math.prod(self.shape(name)) * self.dtype(name).itemsize

    def read(self, name: str, first: int = 0, count: int | None = None) -> Tensor:
        """A tensor in memory of its own; with `first` and `count`, those of its rows (of dimension 0)."""
        dtype, shape, offset = self._entries[name]
        if count is not None:
            offset += first * math.prod(shape[1:]) * dtype.itemsize
            shape = (count, *shape[1:])
        whole = torch.empty(shape, dtype=dtype)
        self._read_into(_bytes_of(whole), self._start + offset)
        return whole

    def read_into(self, name: str, target: Tensor, first: int = 0) -> None:
        """Fill `target` with rows `first`, first + 1 … of a tensor, cast to its type, a part at a time."""
        dtype, shape, offset = self._entries[name]
        if not target.ndim:
            target.copy_(self.read(name))
            return
        row_bytes = max(1, math.prod(shape[1:]) * dtype.itemsize)
        if target.dtype == dtype and target.device.type == "cpu" and target.is_contiguous():
            self._read_into(_bytes_of(target), self._start + offset + first * row_bytes)
            return
        step = max(1, 2**26 // row_bytes)
        for start in range(0, len(target), step):
            count = min(step, len(target) - start)
            target[start : start + count].copy_(self.read(name, first + start, count))

    def _read_into(self, values: memoryview, offset: int) -> None:
        file = os.open(self.path, os.O_RDONLY)
        try:
            done = 0
            while done < len(values):
                got = os.preadv(file, [values[done : done + READ_BYTES]], offset + done)
                if not got:
                    raise InputError(f"{self.path} became shorter while it was read")
                done += got
        finally:
            os.close(file)

    def _entry(self, name: str, value: Any) -> tuple[torch.dtype, tuple[int, ...], int]:
        """(type, shape, where its bytes begin), of bytes that are there."""
        try:
            kind, shape, (begin, end) = value["dtype"], tuple(value["shape"]), value["data_offsets"]
            whole = all(isinstance(one, int) and one >= 0 for one in (*shape, begin, end))
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{self.path} is no safetensors file: its header is damaged") from None
        if kind not in DTYPES:
            raise InputError(f"{self.path}: {name} is of type {kind}, which cannot be read here")
        if not whole or end - begin != math.prod(shape) * DTYPES[kind].itemsize:
            raise InputError(f"{self.path} is no safetensors file: its header is damaged")
        if self._start + end > self._size:
            raise InputError(
                f"{self.path} is cut off: {self._size:,} bytes of {self._start + end:,} or more; download it again"
            )
        return DTYPES[kind], shape, begin


def _bytes_of(tensor: Tensor) -> memoryview:
    """The memory of a contiguous tensor."""
    values: Any = tensor.reshape(-1).view(torch.uint8).numpy()
    return memoryview(values)


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
