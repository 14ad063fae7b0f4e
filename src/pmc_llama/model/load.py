"""Models from Hugging Face folders or from a configuration: on the meta device first, then straight into the shards."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.distributed.checkpoint.state_dict_loader import load as load_shards
from torch.distributed.device_mesh import DeviceMesh
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from pmc_llama.errors import InputError, RecipeError
from pmc_llama.hub import MODEL_FILES, hub_folder, is_hub_id
from pmc_llama.model import attention
from pmc_llama.model.lora import add_adapters, causal_lm, fill, init_adapters
from pmc_llama.model.parallel import Recompute, parallelize
from pmc_llama.model.quantized import leave_out_quantization, read_quantized
from pmc_llama.model.seeds import generator_for
from pmc_llama.model.weights import weight_files
from pmc_llama.recipe.training import LoraSection

_LOGITS_CHANGED_BY = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")
"""Fields of configurations: of Gemma 2, Cohere, Granite and Falcon-H1."""


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

    Order: shapes on the meta device -> adapters -> recompute, compile, shard -> allocate shards -> read weights into
    them -> adapters' values -> RoPE buffers (not part of any checkpoint, and garbage after allocation).
    The frozen base of a LoRA model is kept in `dtype`, or whole in 4 bits, everything that is trained in fp32.
    """
    folder = None if origin.path is None else local_folder(origin.path)
    config = configuration(origin, tokenizer)
    quantized = lora is not None and lora.quantize is not None
    if quantized and lora is not None:
        base = read_quantized(folder, config, dtype, device)
        _refuse_other_heads(base)
        model: nn.Module = add_adapters(base, lora)
        leave_out_quantization(model)
    else:
        model = shape_on_meta(config, lora, torch.float32 if lora is None else dtype)
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    whole = frozen if quantized or mesh.size() == 1 else []  # on one process, a gathered copy would be a second base
    parallelize(model, mesh, dtype=dtype, recompute=recompute, compiled=compiled, whole=whole)
    if not quantized:
        model.to_empty(device=device)
        if whole and config.tie_word_embeddings:
            causal_lm(model).tie_weights()  # parameters that are not sharded were allocated twice
        if folder is None:
            _draw_weights(model, config.initializer_range, seed)
        else:
            _read_weights(model, folder)
    init_adapters(model, seed)
    _renew_rope(causal_lm(model), device)
    return model.train()


def configuration(origin: ModelOrigin, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """The configuration that a model is built with. Raises InputError or RecipeError where it cannot be used."""
    if origin.path is None:
        return _new_config(origin.config or {}, tokenizer)
    return _existing_config(local_folder(origin.path), tokenizer)


def shape_on_meta(config: PretrainedConfig, lora: LoraSection | None, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The model without values, with adapters where asked for; raises RecipeError for one that cannot be trained."""
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention.NAME)
        config.architectures = [type(model).__name__]  # sharding changes the class's name
        _refuse_other_heads(model)
        whole: nn.Module = model if lora is None else add_adapters(model, lora)
        return whole


def local_folder(path: str | Path) -> Path:
    """The model's folder on this machine; a hub id is downloaded (safetensors, configuration and tokenizer only)."""
    if Path(path).is_dir():
        return Path(path)
    if isinstance(path, Path) or not is_hub_id(path):
        raise InputError(f"model {path} is not a folder (expected a Hugging Face folder, or a hub id `owner/name`)")
    return hub_folder(path, MODEL_FILES)


def load_for_inference(
    path: str | Path, adapter: Path | None = None, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> PreTrainedModel:
    """A plain transformers model in eval mode, with the adapter merged into it if one is given."""
    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(local_folder(path), dtype=torch.float32 if adapter else dtype)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter).merge_and_unload().to(dtype)
        _renew_rope(model, torch.device("cpu"))  # `.to(dtype)` rounds the frequencies
    return model.to(device).eval()


def _new_config(fields: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    unknown = sorted(set(fields) - set(LlamaConfig().to_dict()))
    if unknown:
        raise RecipeError(f"base.config.{unknown[0]}: LlamaConfig has no such field")
    config = LlamaConfig(**{"vocab_size": len(tokenizer), **fields})
    return _with_token_ids(config, tokenizer)


def _existing_config(folder: Path, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise InputError(f"model {folder}: no usable config.json: {error}") from None
    return _with_token_ids(config, tokenizer)


def _with_token_ids(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """Take the special ids from the tokenizer: some LLaMA conversions in circulation carry wrong ones."""
    if config.vocab_size < len(tokenizer):
        raise RecipeError(f"the tokenizer has {len(tokenizer)} tokens, but the model only {config.vocab_size}")
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(config, name, getattr(tokenizer, name))
    config.use_cache = False  # with a cache object, packed documents see each other
    return config


def _refuse_other_heads(model: PreTrainedModel) -> None:
    """The loss projects hidden states itself: models that do more there than a product would be trained wrong."""
    config = model.config
    changed = [name for name in _LOGITS_CHANGED_BY if getattr(config, name, None) not in (None, 1, 1.0)]
    if getattr(model.get_output_embeddings(), "bias", None) is not None:
        changed.append("a bias of the output projection")
    if changed:
        raise RecipeError(f"{type(model).__name__} changes its logits ({changed[0]}), which training does not know of")


def refuse_weights(folder: Path) -> None:
    """Raise InputError for a folder without configuration, or whose safetensors files are not all there."""
    if not (folder / "config.json").is_file():
        raise InputError(f"model {folder} has no config.json")
    if not any(folder.glob("*.safetensors")):
        old = any(folder.glob("pytorch_model*.bin"))
        hint = ", only pytorch_model*.bin: convert it first (pmc-llama convert)" if old else ""
        raise InputError(f"model {folder} has no *.safetensors file{hint}")
    missing = [file.name for file in weight_files(folder) if not file.is_file()]
    if missing:
        raise InputError(f"model {folder} lacks {missing[0]}, which its index names")


def _read_weights(model: nn.Module, folder: Path) -> None:
    refuse_weights(folder)
    state = {_checkpoint_key(name): value for name, value in model.state_dict().items() if ".lora_" not in name}
    if causal_lm(model).config.tie_word_embeddings:
        state.pop("lm_head.weight")  # the embedding's storage; absent from the file
    try:
        load_shards(state, storage_reader=HuggingFaceStorageReader(str(folder)))
    except CheckpointException as error:
        raise InputError(f"model {folder}: weights do not fit its config.json: {error}") from None


def _checkpoint_key(name: str) -> str:
    return name.removeprefix("base_model.model.").replace(".base_layer.", ".")


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


def _renew_rope(model: PreTrainedModel, device: torch.device) -> None:
    rotary = getattr(model.get_decoder(), "rotary_emb", None)
    left_over = [name for name, _ in model.named_buffers() if ".rotary_emb." not in name]
    if rotary is None or left_over:
        raise RecipeError(f"{type(model).__name__} has buffers that no checkpoint holds, and not where LLaMA has them")
    for name, buffer in type(rotary)(config=model.config).named_buffers():
        setattr(rotary, name, buffer.to(device))
