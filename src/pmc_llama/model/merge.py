"""A model's weights written anew, a tensor at a time: in another type, and with a LoRA adapter added to them.

What is in memory is one part of the result and a few copies of one matrix, however large the model is.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pmc_llama.errors import InputError
from pmc_llama.files import read_json, write_json
from pmc_llama.model.reading import refuse_untied
from pmc_llama.model.save import divide, save_tensors
from pmc_llama.model.tensors import TensorFile, tensor_files
from pmc_llama.model.weights import INDEX, part_name

PART_BYTES = 2 * 2**30
_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
_PLAIN_FIELDS = {
    *("peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"),
    *("inference_mode", "r", "lora_alpha", "lora_dropout", "use_rslora", "bias", "modules_to_save", "target_modules"),
    *("exclude_modules", "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern", "eva_config"),
    *("init_lora_weights", "megatron_core", "qalora_group_size", "ensure_weight_tying"),
}
"""Fields of an adapter's configuration with which it is a product added to a matrix, or a tensor in another's place."""
_PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal")
"""Ways to draw an adapter's first values that leave the base as it is."""


def write_weights(
    folder: Path, out: Path, *, dtype: torch.dtype, adapter: Path | None = None, part_bytes: int = PART_BYTES
) -> None:
    """Write the weights in `folder` to `out` in `dtype`, with the PEFT adapter in `adapter` merged in fp32.

    Integers stay what they are, and an output projection that is the embedding is not written twice. Raises InputError
    for files that are damaged, an adapter that is no plain LoRA or not one of this model, a quantised base, and values
    that `dtype` cannot hold.
    """
    config = read_json(folder / "config.json")
    if config.get("quantization_config"):
        raise InputError(f"model {folder} is quantised: its weights can be neither merged nor converted")
    files = tensor_files(folder)
    tied = bool(config.get("tie_word_embeddings")) and _EMBEDDING in files
    if tied and _HEAD in files:
        refuse_untied(folder, files, [_EMBEDDING, _HEAD])
        del files[_HEAD]
    change = None if adapter is None else Adapter.read(adapter, files, tied)
    types = {name: dtype if file.dtype(name).is_floating_point else file.dtype(name) for name, file in files.items()}
    sizes = {name: torch.Size(file.shape(name)).numel() * types[name].itemsize for name, file in files.items()}
    parts = divide(sizes, part_bytes)
    index: dict[str, str] = {}
    for number, names in enumerate(parts, 1):
        part = part_name(number, len(parts))
        save_tensors({name: _value(files[name], name, types[name], change) for name in names}, out / part)
        index |= dict.fromkeys(names, part)
    if len(parts) > 1:
        write_json(out / INDEX, {"metadata": {"total_size": sum(sizes.values())}, "weight_map": index})


def stored_dtype(folder: Path) -> torch.dtype | None:
    """The type that all weights in `folder` have; None where they have several. Integers do not count."""
    types = {file.dtype(name) for name, file in tensor_files(folder).items()}
    found = [one for one in types if one.is_floating_point]
    return found[0] if len(found) == 1 else None


def _value(file: TensorFile, name: str, dtype: torch.dtype, change: "Adapter | None") -> Tensor:
    value = file.read(name) if change is None else change.applied(name, file)
    if value.dtype == dtype:
        return value
    cast = value.to(dtype)
    if dtype == torch.float16 and bool((cast.isinf() & value.isfinite()).any()):
        raise InputError(f"{file.path}: {name} has values that fp16 cannot hold: choose bf16 or fp32")
    return cast


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter: what it adds to which of the base's tensors, and what stands in another's place."""

    file: TensorFile
    config: dict[str, Any]
    products: dict[str, str]
    """Base tensor -> module, as the adapter's file names it."""
    replacements: dict[str, str]
    """Base tensor -> tensor of the adapter's file."""

    @classmethod
    def read(cls, folder: Path, base: dict[str, TensorFile], tied: bool) -> "Adapter":
        """The adapter in `folder`, of a model with these tensors. Raises InputError as `write_weights` does."""
        config = read_json(folder / "adapter_config.json")
        _refuse_other_kinds(folder, config)
        file = TensorFile(folder / "adapter_model.safetensors")
        names = set(file.names())
        products: dict[str, str] = {}
        replacements: dict[str, str] = {}
        for name in sorted(names):
            module, _, factor = name.rpartition(".lora_")
            if module:
                target = f"{_in_base(module)}.weight"
                other = "B.weight" if factor == "A.weight" else "A.weight"
                known = factor in ("A.weight", "B.weight") and f"{module}.lora_{other}" in names
                products[target] = module
            else:
                target, known = _in_base(name), not (tied and _in_base(name) == _EMBEDDING)
                replacements[target] = name
            if not known or target not in base:
                raise InputError(f"adapter {folder}: {name} belongs to no weight of its base: it cannot be merged")
        if not products:
            raise InputError(f"adapter {folder} holds no LoRA matrices")
        return cls(file, config, products, replacements)

    @property
    def changed(self) -> list[str]:
        """Names of the base's tensors that it changes."""
        return sorted({*self.products, *self.replacements})

    def applied(self, name: str, base: TensorFile) -> Tensor:
        """The tensor of the merged model; in fp32 where the adapter changes it by a product."""
        value = self.file.read(self.replacements[name]) if name in self.replacements else base.read(name)
        module = self.products.get(name)
        if module is not None:
            a, b = (self.file.read(f"{module}.lora_{factor}.weight").float() for factor in "AB")
            shapes = [tuple(one.shape) for one in (a, b, value)]
            if any(len(shape) != 2 for shape in shapes) or (len(b), *a.shape[1:], len(a)) != (*value.shape, b.shape[1]):
                raise InputError(f"{self.file.path}: {module} is {shapes[1]} x {shapes[0]}, its base {shapes[2]}")
            value = value.float().add_((b @ a) * self._scaling(module, len(a)))
        elif name in self.replacements and value.shape != base.shape(name):
            raise InputError(f"{self.file.path}: {name} is {tuple(value.shape)}, in its base {base.shape(name)}")
        return value

    def _scaling(self, module: str, rank: int) -> float:
        own = (self.config.get("alpha_pattern") or {}).items()
        name = _in_base(module)
        matching = (value for pattern, value in own if re.match(rf"(.*\.)?({pattern})$", name))
        alpha = float(next(matching, self.config["lora_alpha"]))
        return alpha / (rank**0.5 if self.config.get("use_rslora") else rank)


def _refuse_other_kinds(folder: Path, config: dict[str, Any]) -> None:
    other = [name for name, value in sorted(config.items()) if value and name not in _PLAIN_FIELDS]
    start = config.get("init_lora_weights", True)
    if config.get("peft_type") != "LORA":
        other = [f"peft_type: {config.get('peft_type')}"]
    elif start not in _PLAIN_STARTS:
        other.append(f"init_lora_weights: {start}")
    if other:
        raise InputError(f"adapter {folder} is not a plain LoRA ({other[0]}): it cannot be merged here")


def _in_base(name: str) -> str:
    return name.removeprefix("base_model.model.").replace(".base_layer.", ".")
