"""Models merged into one, a tensor at a time: their weights averaged, or what training changed in them added up.

What is in memory is one part of the result and a few copies of one matrix, however large the models are.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from pmc_llama.errors import InputError
from pmc_llama.files import read_json, write_json
from pmc_llama.model.merge import PART_BYTES
from pmc_llama.model.reading import refuse_untied
from pmc_llama.model.save import divide, save_tensors
from pmc_llama.model.tensors import TensorFile, tensor_files
from pmc_llama.model.weights import INDEX, part_name

_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
_OF_NO_ACCOUNT = {
    *("_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache", "architectures"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "initializer_range", "tie_word_embeddings"),
}
"""Fields of a configuration that change nothing of what the weights compute."""
_PARALLEL = 1 - 1e-6
"""From this cosine on, two tensors point the same way, and the arc between them is the straight line."""


@dataclass(frozen=True)
class Rule:
    """How models are merged; see `pmc_llama.recipe.models.MergeSection`."""

    method: Literal["linear", "slerp", "dare_ties"]
    weight: float
    density: float
    seed: int = 0

    def merged(self, name: str, values: Sequence[Tensor]) -> Tensor:
        """One tensor of the result in fp32, of the models' own tensors of that name and shape, in their order."""
        if self.method == "linear":
            return values[0] + self.weight * (sum(values[1:], torch.zeros(())) / (len(values) - 1) - values[0])
        if self.method == "slerp":
            return _slerp(values[0], values[1], self.weight)
        changes = [self._thinned(name, i, value - values[0]) for i, value in enumerate(values[1:], 1)]
        return values[0] + self.weight * _agreed(torch.stack(changes))

    def _thinned(self, name: str, number: int, change: Tensor) -> Tensor:
        """A random share of the change, made larger so that its mean stays."""
        drawn = torch.Generator().manual_seed(zlib.crc32(f"{self.seed}/{number}/{name}".encode()))
        kept = torch.rand(change.shape, generator=drawn) < self.density
        return change * kept / self.density


def average_weights(folders: Sequence[Path], out: Path, rule: Rule, *, part_bytes: int = PART_BYTES) -> None:
    """Write the weights that `rule` makes of the models in `folders` to `out`, in the last one's types.

    Integers are the first model's. Raises InputError for models of other architectures or shapes, and damaged files.
    """
    held = [_files(folder) for folder in folders]
    _refuse_others(folders, held)
    last = held[-1]
    sizes = {name: torch.Size(file.shape(name)).numel() * file.dtype(name).itemsize for name, file in last.items()}
    parts = divide(sizes, part_bytes)
    index: dict[str, str] = {}
    for number, names in enumerate(parts, 1):
        part = part_name(number, len(parts))
        save_tensors({name: _value(rule, name, [files[name] for files in held]) for name in names}, out / part)
        index |= dict.fromkeys(names, part)
    if len(parts) > 1:
        write_json(out / INDEX, {"metadata": {"total_size": sum(sizes.values())}, "weight_map": index})


def _value(rule: Rule, name: str, files: Sequence[TensorFile]) -> Tensor:
    dtype = files[-1].dtype(name)
    if not dtype.is_floating_point:
        return files[0].read(name)
    merged = rule.merged(name, [file.read(name).float() for file in files])
    if not bool(merged.isfinite().all()):
        raise InputError(f"{files[-1].path}: {name} gets values that are no numbers, so the models cannot be merged")
    return merged.to(dtype).contiguous()


def _files(folder: Path) -> dict[str, TensorFile]:
    """A model's tensors by name, without an output projection that is the embedding."""
    config = read_json(folder / "config.json")
    if config.get("quantization_config"):
        raise InputError(f"model {folder} is quantised: its weights cannot be merged")
    files = tensor_files(folder)
    if config.get("tie_word_embeddings") and {_HEAD, _EMBEDDING} <= files.keys():
        refuse_untied(folder, files, [_EMBEDDING, _HEAD])
        del files[_HEAD]
    return files


def _refuse_others(folders: Sequence[Path], held: Sequence[dict[str, TensorFile]]) -> None:
    first, shapes = folders[0], {name: file.shape(name) for name, file in held[0].items()}
    mine = read_json(first / "config.json")
    for folder, files in zip(folders[1:], held[1:], strict=True):
        theirs = {name: file.shape(name) for name, file in files.items()}
        for name in sorted(shapes.keys() | theirs.keys()):
            if shapes.get(name) != theirs.get(name):
                raise InputError(
                    f"{first} and {folder} cannot be merged: {name} is {shapes.get(name, 'not there')} in one, "
                    f"{theirs.get(name, 'not there')} in the other"
                )
        other = read_json(folder / "config.json")
        for field in sorted((mine.keys() & other.keys()) - _OF_NO_ACCOUNT):
            if mine[field] != other[field]:
                both = f"{mine[field]!r} in one, {other[field]!r} in the other"
                raise InputError(f"{first} and {folder} cannot be merged: {field} is {both}")


def _slerp(a: Tensor, b: Tensor, weight: float) -> Tensor:
    """The point at `weight` on the arc between two tensors, both of which are taken as one vector."""
    inner, *squares = (float((x * y).sum(dtype=torch.float64)) for x, y in ((a, b), (a, a), (b, b)))
    cosine = inner / max(1e-30, (squares[0] * squares[1]) ** 0.5)
    if abs(cosine) >= _PARALLEL:
        return a + weight * (b - a)
    angle = torch.acos(torch.tensor(cosine, dtype=torch.float64))
    left, right = (float(torch.sin(share * angle) / torch.sin(angle)) for share in (1 - weight, weight))
    return left * a + right * b


def _agreed(changes: Tensor) -> Tensor:
    """For each value the mean of the changes [M, ..] that point the way in which most of their sum does."""
    agree = (changes.sign() == changes.sum(0).sign()) & (changes != 0)
    return (changes * agree).sum(0) / agree.sum(0).clamp_min(1)
