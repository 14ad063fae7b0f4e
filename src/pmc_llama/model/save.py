"""Models out: Hugging Face folders and PEFT adapters, written part by part, whole or not at all."""

import shutil
from pathlib import Path
from typing import Any

from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from pmc_llama.errors import StorageError
from pmc_llama.files import read_json, write_json
from pmc_llama.model.portable import portable
from pmc_llama.model.stops import kept_end_ids
from pmc_llama.model.weights import INDEX, part_name

MAX_PART_BYTES = 4 * 2**30


def export_hf(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, out: Path, *, is_first: bool = True, base: str = ""
) -> None:
    """Write `model` as a folder that plain transformers loads, or, if it has adapters, as a PEFT adapter of `base`.

    Every process must call it, as shards are gathered one tensor at a time; only the first writes, and holds at most
    one part (4 GiB). `out` appears whole, or stays as it was.
    """
    partial = out.with_name(out.name + ".partial")
    if is_first:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    if isinstance(model, PeftModel):
        _write_adapter(model, partial, base, is_first)
    else:
        _write_model(model, partial, is_first)
    if is_first:
        tokenizer.save_pretrained(partial)
        _swap_in(partial, out)


def _write_model(model: PreTrainedModel, folder: Path, is_first: bool) -> None:
    parameters = dict(model.named_parameters()) | _kept_buffers(model)  # tied weights come once
    parts = divide({name: value.numel() * value.element_size() for name, value in parameters.items()}, MAX_PART_BYTES)
    index: dict[str, str] = {}
    for number, names in enumerate(parts, 1):
        file = part_name(number, len(parts))
        tensors = {}
        for name in names:
            whole = _whole(parameters[name])
            if is_first:
                tensors[name] = whole
        if is_first:
            save_tensors(tensors, folder / file)
            index |= dict.fromkeys(names, file)
    if is_first and len(parts) > 1:
        total_bytes = sum(value.numel() * value.element_size() for value in parameters.values())
        write_json(folder / INDEX, {"metadata": {"total_size": total_bytes}, "weight_map": index})
    if is_first:
        _write_configs(model, folder)


def _kept_buffers(model: PreTrainedModel) -> dict[str, Tensor]:
    """Buffers that a model's folder holds beside its parameters."""
    return {
        f"{path}.{name}": buffer
        for path, module in model.named_modules()
        for name, buffer in module.named_buffers(recurse=False)
        if name not in module._non_persistent_buffers_set
    }


def divide(sizes: dict[str, int], most_bytes: int) -> list[list[str]]:
    """Names in parts of at most `most_bytes` (a single larger tensor is a part of its own)."""
    parts: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if parts[-1] and filled + size > most_bytes:
            parts.append([])
            filled = 0
        parts[-1].append(name)
        filled += size
    return parts


def _write_configs(model: PreTrainedModel, folder: Path) -> None:
    config = model.config
    config.dtype = next(model.parameters()).dtype
    config.use_cache = True
    config.save_pretrained(folder)
    write_json(folder / "config.json", portable(read_json(folder / "config.json")))
    config.use_cache = False
    ids = {name: getattr(config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    ids["eos_token_id"] = kept_end_ids(_named_end_ids(config), ids["eos_token_id"])
    GenerationConfig(**ids).save_pretrained(folder)


def _named_end_ids(config: Any) -> Any:
    """What the generation config of the model that training began with names as `eos_token_id`."""
    file = Path(config.name_or_path) / "generation_config.json"
    return read_json(file).get("eos_token_id") if config.name_or_path and file.is_file() else None


def _write_adapter(model: PeftModel, folder: Path, base: str, is_first: bool) -> None:
    trained = {name: _whole(value) for name, value in model.named_parameters() if value.requires_grad}
    if not is_first:
        return
    state = get_peft_model_state_dict(model, state_dict=trained)
    save_tensors(state, folder / "adapter_model.safetensors")
    config: Any = model.peft_config["default"]
    config.base_model_name_or_path, config.inference_mode = base, True
    config.save_pretrained(folder)
    _put_in_order(folder / "adapter_config.json")


def save_tensors(tensors: dict[str, Tensor], file: Path) -> None:
    """Write a safetensors file that others may read as they may any new file here; the library's are its owner's alone.

    Raises StorageError where it cannot be written.
    """
    try:
        file.touch()
        mode = file.stat().st_mode
        save_file(tensors, file, metadata={"format": "pt"})
        file.chmod(mode)
    except SafetensorError as error:  # what lies beneath is an OSError of the library's own
        raise StorageError(f"{file} cannot be written: {error}; the checkpoints are kept") from error


def _put_in_order(config: Path) -> None:
    """PEFT keeps names in sets, whose order differs from process to process; the same adapter gives the same bytes."""
    value = {name: sorted(item) if _is_names(item) else item for name, item in read_json(config).items()}
    write_json(config, value)


def _is_names(item: Any) -> bool:
    return isinstance(item, list) and all(isinstance(one, str) for one in item)


def _whole(value: Tensor) -> Tensor:
    value = value.detach()
    return (value.full_tensor() if isinstance(value, DTensor) else value).cpu().contiguous()


def _swap_in(partial: Path, out: Path) -> None:
    """Put `partial` in `out`'s place; an old `out` is whole or away at any moment."""
    old = out.with_name(out.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    partial.rename(out)
    shutil.rmtree(old, ignore_errors=True)
