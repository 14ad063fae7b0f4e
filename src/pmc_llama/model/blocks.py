"""The parts of a decoder by the places where LLaMA has them."""

from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from pmc_llama.errors import RecipeError


def causal_lm(model: nn.Module) -> PreTrainedModel:
    """The transformers model inside an optional PEFT wrapper."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def blocks_of(model: PreTrainedModel) -> nn.ModuleList:
    """The decoder's blocks. Raises RecipeError for a model that is not built like LLaMA."""
    blocks = getattr(model.get_decoder(), "layers", None)
    if not isinstance(blocks, nn.ModuleList):
        raise RecipeError(
            f"{type(model).__name__} keeps no list of blocks at `model.layers`, as LLaMA does; cannot shard it"
        )
    return blocks
