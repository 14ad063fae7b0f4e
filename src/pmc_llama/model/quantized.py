"""QLoRA: a frozen base in 4 bits, whole on each process, below adapters that are sharded as ever."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PretrainedConfig, PreTrainedModel

from pmc_llama.errors import RecipeError
from pmc_llama.model import attention


def read_quantized(
    folder: Path | None, config: PretrainedConfig, dtype: torch.dtype, device: torch.device
) -> PreTrainedModel:
    """The model in `folder` with the matrices of its blocks as NF4 (Dettmers et al. 2023), the rest in `dtype`.

    Raises RecipeError where there is no GPU or no bitsandbytes, and for a model that is only going to be made.
    """
    if folder is None:
        raise RecipeError("lora.quantize: only an existing model can be read in 4 bits")
    if device.type != "cuda":
        raise RecipeError(f"lora.quantize: a base in 4 bits needs a CUDA GPU, and this process runs on {device.type}")
    if find_spec("bitsandbytes") is None:
        raise RecipeError("lora.quantize needs bitsandbytes, which is not installed (pip install 'pmc-llama[qlora]')")
    how = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder,
        config=config,
        quantization_config=how,
        dtype=dtype,
        device_map={"": device},
        attn_implementation=attention.NAME,
        trust_remote_code=False,
    )
    return model


def leave_out_quantization(model: nn.Module) -> None:
    """Have `state_dict` give parameters alone: scales of the frozen base are read from its own folder each time."""

    def drop(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
        known = {f"{prefix}{name}" for name, _ in module.named_parameters()}
        for name in state.keys() - known:
            del state[name]

    model.register_state_dict_post_hook(drop)  # type: ignore[no-untyped-call]
