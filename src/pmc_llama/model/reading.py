"""Weights from safetensors files into a model's shards: each parameter and buffer read once, nothing left unread."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from transformers import PreTrainedModel

from pmc_llama.errors import InputError
from pmc_llama.model.blocks import causal_lm
from pmc_llama.model.tensors import TensorFile, tensor_files

_SHOWN = 3
_RECOMPUTED = (r"rotary_emb\.inv_freq$", r"\.attn\.(masked_)?bias$", r"\.attention\.(masked_)?bias$")
"""What old files hold beside the weights: RoPE's frequencies, and the causal masks of GPT-2's kind."""


@dataclass(frozen=True)
class _Slot:
    """A parameter or persistent buffer, under all names that it has; tied ones have several."""

    names: list[str]
    value: Tensor
    rebuilt: bool = False
    """Whether the configuration gives its value, so that a file may lack it."""


@torch.no_grad()
def poison(model: nn.Module) -> None:
    """Fill all memory of a model that was just allocated with NaN, so that what nobody fills is found."""
    for value in [*model.parameters(), *model.buffers()]:
        if value.is_floating_point():
            _local(value).fill_(float("nan"))


def prove_filled(model: nn.Module, origin: str, *, shared: bool = False) -> None:
    """Raise InputError where a parameter or buffer holds NaN or infinity after loading.

    Of a model that is `shared` among the processes, all of them look and all of them raise.
    """
    values = [*model.named_parameters(), *model.named_buffers()]
    bad = [name for name, value in values if value.is_floating_point() and not _finite(_local(value))]
    found: list[Any] = [bad]
    if shared and distributed.is_initialized() and distributed.get_world_size() > 1:
        found = [None] * distributed.get_world_size()
        distributed.all_gather_object(found, bad)
    names = {name for part in found for name in part}
    if names:
        raise InputError(f"{origin}: not finite after loading, so damaged or read from nowhere: {some(names)}")


@torch.no_grad()
def read_weights(model: nn.Module, folder: Path) -> None:
    """Fill `model`, sharded or not, from the files of a folder; adapters are left alone.

    Raises InputError as `match_weights` does, and where tied weights differ.
    """
    for value, files, names in match_weights(model, folder):
        refuse_untied(folder, files, names)
        _read_into(files[names[0]], names[0], value)


def match_weights(model: nn.Module, folder: Path) -> list[tuple[Tensor, Mapping[str, TensorFile], list[str]]]:
    """Each parameter and buffer that a folder's files hold, the files, and the names that it has in them.

    By the files' headers alone. Raises InputError, which names the tensors, where one is missing, has another shape or
    is quantised, and where a file holds one that the model has no place for.
    """
    lm = causal_lm(model)
    files, slots = tensor_files(folder), _slots(lm)
    missing = [slot.names[0] for slot in slots if not slot.rebuilt and not any(name in files for name in slot.names)]
    if missing:
        raise InputError(f"model {folder} lacks {some(missing)}, which training reads by these names")
    refuse_unread(lm, folder, set(files) - {name for slot in slots for name in slot.names})
    found: list[tuple[Tensor, Mapping[str, TensorFile], list[str]]] = []
    for slot in slots:
        held = [name for name in slot.names if name in files]
        for name in held:
            _refuse_misfit(folder, files[name], name, slot.value)
        if held:
            found.append((slot.value, files, held))
    return found


def refuse_unread(model: PreTrainedModel, folder: Path, unread: Iterable[str]) -> None:
    """Raise InputError for tensors of a folder's files that a model has no place for, but those it computes itself."""
    patterns = [*_RECOMPUTED, *(getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ())]
    left = [name for name in unread if not any(re.search(pattern, name) for pattern in patterns)]
    if left:
        raise InputError(
            f"model {folder}: its files hold {some(left)}, which its config.json has no place for: the weights would "
            "be used without them"
        )


def tie_again(model: PreTrainedModel) -> None:
    """Make tied weights one parameter again: allocation gives each module outside of FSDP a parameter of its own."""
    for target, source in (getattr(model, "all_tied_weights_keys", None) or {}).items():
        path, _, name = target.rpartition(".")
        module, parameter = model.get_submodule(path), model.get_parameter(source)
        if getattr(module, name) is not parameter:
            setattr(module, name, parameter)


def _slots(model: PreTrainedModel) -> list[_Slot]:
    by_value: dict[int, _Slot] = {}
    for name, value in model.named_parameters(remove_duplicate=False):
        if ".lora_" not in name:
            slot = by_value.setdefault(id(value), _Slot([], value))
            slot.names.append(name.replace(".base_layer.", "."))
    for path, module in model.named_modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name not in module._non_persistent_buffers_set:
                full = f"{path}.{name}".replace(".base_layer.", ".")
                by_value.setdefault(id(buffer), _Slot([], buffer, rebuilt=True)).names.append(full)
    return list(by_value.values())


def _refuse_misfit(folder: Path, file: TensorFile, name: str, value: Tensor) -> None:
    if file.shape(name) != tuple(value.shape):
        raise InputError(
            f"model {folder}: {name} has the shape {list(file.shape(name))} in {file.path.name}, where its config.json "
            f"says {list(value.shape)}"
        )
    kind = file.dtype(name)
    if not kind.is_floating_point or kind.itemsize == 1:
        raise InputError(f"model {folder}: {name} is quantised ({kind}); take the model it was made from")


def refuse_untied(folder: Path, files: Mapping[str, TensorFile], names: Sequence[str]) -> None:
    """Raise InputError where tensors that a configuration ties, and that are all in the files, have other values."""
    first = names[0]
    for other in names[1:]:
        if not torch.equal(files[first].read(first), files[other].read(other)):
            raise InputError(
                f"model {folder}: its config.json ties {other} to {first}, but the files hold two different matrices, "
                "whose values differ (`tie_word_embeddings: false` says that both count)"
            )


def _read_into(file: TensorFile, name: str, value: Tensor) -> None:
    """Fill the rows that this process holds."""
    if not isinstance(value, DTensor):
        file.read_into(name, value.detach())
        return
    shape, offset = compute_local_shape_and_global_offset(value.shape, value.device_mesh, value.placements)
    if any(mine != whole for mine, whole in zip(shape[1:], value.shape[1:], strict=True)):
        raise NotImplementedError(f"{name} is sharded by another dimension than its rows")
    local = value.to_local().detach()
    if local.numel():
        file.read_into(name, local, offset[0] if offset else 0)


def _local(value: Tensor) -> Tensor:
    return value.to_local().detach() if isinstance(value, DTensor) else value.detach()


def _finite(value: Tensor) -> bool:
    """Without a mask as large as the tensor: NaN and infinity come out of the extremes."""
    return not value.numel() or bool(torch.isfinite(torch.stack(torch.aminmax(value))).all())


def some(names: Iterable[str]) -> str:
    """The first names and how many more."""
    ordered = sorted(names)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return ", ".join(ordered[:_SHOWN]) + more
