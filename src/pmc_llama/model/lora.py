"""LoRA through PEFT, so made that a sharded model gets the same adapters as an unsharded one."""

import math
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from pmc_llama.errors import RecipeError
from pmc_llama.model.blocks import causal_lm
from pmc_llama.model.seeds import generator_for
from pmc_llama.recipe.training import LoraSection

FIXED = ("lm_head", "embed_tokens", "embed_out", "wte")
"""The embedding and the output projection: often one matrix, and the loss multiplies by the projection itself."""


def add_adapters(model: PreTrainedModel, section: LoraSection) -> PeftModel:
    """Freeze `model` and add adapters to its target modules (fp32, whatever the base is kept in)."""
    fixed = [target for target in section.targets if target.rpartition(".")[2] in FIXED]
    if fixed:
        raise RecipeError(f"lora.targets: {fixed[0]!r} cannot have an adapter here: choose layers inside the blocks")
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=section.r,
        lora_alpha=section.alpha,
        lora_dropout=section.dropout,
        target_modules=section.targets,
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # between versions of PEFT and transformers
            wrapped = get_peft_model(model, config)
    except ValueError as error:
        raise RecipeError(f"lora.targets: {section.targets} do not all name modules of the model: {error}") from None
    lm = causal_lm(wrapped)
    if any(isinstance(one, BaseTunerLayer) for one in (lm.get_input_embeddings(), lm.get_output_embeddings())):
        raise RecipeError(f"lora.targets: {section.targets} reach the embeddings: choose layers inside the blocks")
    for parameter in wrapped.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return wrapped


@torch.no_grad()
def init_adapters(model: nn.Module, seed: int) -> None:
    """Set A to Kaiming-uniform values drawn for the whole matrix, B to zero: the same for any number of processes."""
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            parameter.zero_()
        elif ".lora_A." in name:
            whole = torch.empty(parameter.shape)
            nn.init.kaiming_uniform_(whole, a=math.sqrt(5), generator=generator_for(name, seed))
            fill(parameter, whole)


@torch.no_grad()
def fill(parameter: torch.Tensor, whole: torch.Tensor) -> None:
    """Copy this process's part of `whole` into `parameter`, sharded or not."""
    whole = whole.to(parameter.device, parameter.dtype)
    if isinstance(parameter, DTensor):
        whole = distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None)
    parameter.copy_(whole)
