"""Models from Hugging Face folders or from a configuration: on the meta device first, then straight into the shards."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig, PreTrainedTokenizerBase
from transformers.initialization import no_init_weights

from pmc_llama.errors import RecipeError
from pmc_llama.model import attention
from pmc_llama.model.accepted import refuse_architecture
from pmc_llama.model.blocks import causal_lm
from pmc_llama.model.folders import first_line, local_folder, read_config, refuse_weights
from pmc_llama.model.inference import load_for_inference
from pmc_llama.model.lora import add_adapters, fill, init_adapters
from pmc_llama.model.parallel import Recompute, parallelize
from pmc_llama.model.quantized import leave_out_quantization, read_quantized
from pmc_llama.model.reading import poison, prove_filled, read_weights, tie_again
from pmc_llama.model.seeds import generator_for
from pmc_llama.recipe.training import LoraSection

__all__ = ["ModelOrigin", "build_model", "configuration", "load_for_inference", "local_folder", "shape_on_meta"]


@dataclass(frozen=True)
class ModelOrigin:
    """Where a model comes from: an existing one (`path`: folder or hub id), or fields of LlamaConfig for a new one."""

    path: str | Path | None = None
    config: dict[str, Any] | None = None


def build_model(
    origin: ModelOrigin,
    *,
    tokenizer: PreTrainedTokenizerBase,
    mesh: DeviceMesh,
    device: torch.device,
    dtype: torch.dtype,
    seed: int,
    lora: LoraSection | None = None,
    recompute: Recompute = "none",
    compiled: bool = False,
) -> nn.Module:
    """The sharded model, ready to train.

    Order: shapes on the meta device -> adapters -> recompute, compile, shard -> allocate shards, filled with NaN ->
    buffers as the configuration gives them -> weights read into the shards -> adapters' values -> proof that no NaN is
    left. The frozen base of a LoRA model is kept in `dtype`, or whole in 4 bits, everything that is trained in fp32.
    Raises InputError or RecipeError for a model that cannot be used, or whose files do not fit its configuration.
    """
    folder = None if origin.path is None else local_folder(origin.path)
    config = configuration(origin, tokenizer)
    quantized = lora is not None and lora.quantize is not None
    if quantized and lora is not None:
        base = read_quantized(folder, config, dtype, device)
        model: nn.Module = add_adapters(base, lora)
        leave_out_quantization(model)
    else:
        model = shape_on_meta(config, lora, torch.float32 if lora is None else dtype)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    whole = frozen if quantized or mesh.size() == 1 else []  # on one process, a gathered copy would be a second base
    parallelize(model, mesh, dtype=dtype, recompute=recompute, compiled=compiled, whole=whole)
    if not quantized:
        model.to_empty(device=device)
        tie_again(causal_lm(model))
        poison(model)
        _restore(model, buffers)
        if folder is None:
            _draw_weights(model, config.initializer_range, seed)
        else:
            refuse_weights(folder)
            read_weights(model, folder)
    init_adapters(model, seed)
    prove_filled(model, f"model {folder or 'base.config'}", shared=True)
    return model.train()


def configuration(origin: ModelOrigin, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """The configuration that a model is built with. Raises InputError or RecipeError where it cannot be used."""
    if origin.path is None:
        return _new_config(origin.config or {}, tokenizer)
    return _with_token_ids(read_config(local_folder(origin.path)), tokenizer)


def shape_on_meta(config: PretrainedConfig, lora: LoraSection | None, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The model without weights, but with its buffers, and with adapters where asked for.

    Raises RecipeError for one that cannot be trained.
    """
    with _shapes_alone():
        try:
            model: Any = AutoModelForCausalLM.from_config(
                config, dtype=dtype, attn_implementation=attention.NAME, trust_remote_code=False
            )
        except (ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
            raise RecipeError(f"no model can be made of this configuration: {first_line(error)}") from None
    tie_again(model)
    config.architectures = [type(model).__name__]  # sharding changes the class's name
    refuse_architecture(model)
    model.get_input_embeddings().padding_idx = None  # its row would get no gradient, and often ends texts as well
    with torch.device("meta"):
        whole: nn.Module = model if lora is None else add_adapters(model, lora)
    return whole


def _new_config(fields: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    try:
        known = {*LlamaConfig().to_dict(), "rope_theta", "rope_scaling"}  # older spellings, which it takes as well
        unknown = sorted(set(fields) - known)
        if unknown:
            raise RecipeError(f"base.config.{unknown[0]}: LlamaConfig has no such field")
        config = LlamaConfig(**{"vocab_size": len(tokenizer), **fields})
    except (ValueError, TypeError, KeyError, StrictDataclassError) as error:
        raise RecipeError(f"base.config: {first_line(error)}") from None
    return _with_token_ids(config, tokenizer)


def _with_token_ids(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """Take the special ids from the tokenizer: some LLaMA conversions in circulation carry wrong ones."""
    if config.vocab_size < len(tokenizer):
        raise RecipeError(f"the tokenizer has {len(tokenizer)} tokens, but the model only {config.vocab_size}")
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(config, name, getattr(tokenizer, name))
    config.use_cache = False  # with a cache object, packed documents see each other
    return config


@contextmanager
def _shapes_alone() -> Iterator[None]:
    """Parameters without memory or values; buffers, which follow from the configuration, are real."""
    with no_init_weights(), init_empty_weights(include_buffers=False):
        yield


@torch.no_grad()
def _restore(model: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])


@torch.no_grad()
def _draw_weights(model: nn.Module, std: float, seed: int) -> None:
    """LLaMA's initialisation (normal matrices, norms one, biases zero), each whole parameter drawn by itself."""
    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):
            parameter.zero_()
        elif parameter.ndim == 1:
            parameter.fill_(1.0)
        elif ".lora_" not in name:
            fill(parameter, torch.empty(parameter.shape).normal_(0.0, std, generator=generator_for(name, seed)))
