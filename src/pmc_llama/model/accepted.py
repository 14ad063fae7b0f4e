"""What an architecture must be like to be trained here; what is not is refused by name, before anything is paid for."""

import copy
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from pmc_llama.errors import RecipeError
from pmc_llama.model.attention import Documents
from pmc_llama.model.blocks import blocks_of

_LOGITS_CHANGED_BY = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")
"""Fields of configurations: of Gemma 2, Cohere, Granite and Falcon-H1."""
_SEES_DOCUMENTS = {"full_attention", "sliding_attention"}
"""Kinds of layers, as configurations call them, whose attention can be told where documents lie."""
_CARRIES_ALONG = (nn.Conv1d, nn.RNNBase)
"""Modules that take something of a position on to the next without asking to which document it belongs."""


def refuse_architecture(model: PreTrainedModel) -> None:
    """Raise RecipeError for a model, on the meta device, that training would compute other than transformers does."""
    config, name = model.config, type(model).__name__
    if getattr(config, "quantization_config", None) is not None:
        raise RecipeError(
            "the base's weights are quantised (`quantization_config` in its config.json), which training does not "
            f"read: take the {name} it was made from, or write one out with `dequantize`"
        )
    changed = changed_logits(model)
    if changed is not None:
        raise RecipeError(f"{name} changes its logits ({changed}), which training does not know of")
    blocks, carrying = blocks_of(model), carries_along(model)
    if carrying is not None:
        raise RecipeError(f"{name} has layers ({carrying}) that carry one packed document's text into the next")
    _refuse_mixers(model, len(blocks))


def changed_logits(model: PreTrainedModel) -> str | None:
    """What a model does to its logits beyond a product of hidden states and a matrix; None if nothing."""
    changed = [name for name in _LOGITS_CHANGED_BY if getattr(model.config, name, None) not in (None, 1, 1.0)]
    if getattr(model.get_output_embeddings(), "bias", None) is not None:
        changed.append("a bias of the output projection")
    return changed[0] if changed else None


def carries_along(model: PreTrainedModel) -> str | None:
    """A kind of layer that takes something from position to position other than by attention; None if there is none."""
    layers = sorted(set(getattr(model.config, "layer_types", None) or ()) - _SEES_DOCUMENTS)
    modules = sorted({type(one).__name__ for one in model.modules() if isinstance(one, _CARRIES_ALONG)})
    return next(iter([*layers, *modules]), None)


def window_of(config: PretrainedConfig) -> int | None:
    """How many tokens back the attention of some layer sees (None: all)."""
    layers = getattr(config, "layer_types", None)
    bounds = []
    if getattr(config, "use_sliding_window", True) and (layers is None or "sliding_attention" in layers):
        bounds.append(getattr(config, "sliding_window", None))
    bounds.append(getattr(config, "attention_chunk_size", None))
    return min((int(bound) for bound in bounds if bound), default=None)


def longest_with_fixed_positions(config: PretrainedConfig) -> int | None:
    """Up to how many tokens RoPE's frequencies do not depend on the input's length (None: they never do).

    `longrope` (Phi-3) and `dynamic` take others for longer inputs, for all rows of a batch alike.
    """
    settings = getattr(config, "rope_parameters", None) or {}
    kinds = [settings] if "rope_type" in settings else [one for one in settings.values() if isinstance(one, dict)]
    bounds = []
    for one in kinds:
        if one.get("rope_type") in ("longrope", "dynamic"):
            original = one.get("original_max_position_embeddings")
            original = original or getattr(config, "original_max_position_embeddings", None)
            bounds.append(int(original or config.max_position_embeddings))
    return min(bounds, default=None)


def refuse_length(config: PretrainedConfig, seq_len: int, where: str) -> None:
    """Raise RecipeError where rows of `seq_len` tokens could hold documents whose positions depend on their length."""
    longest = longest_with_fixed_positions(config)
    if longest is not None and seq_len > longest:
        raise RecipeError(
            f"{where}.seq_len: beyond {longest} tokens this model's RoPE takes other frequencies for all documents of "
            f"a row, also the short ones; give at most {longest}"
        )


def _refuse_mixers(model: PreTrainedModel, blocks: int) -> None:
    """Each block must ask our attention once: it alone is told of documents, and refuses what it does not know."""
    decoder: Any = copy.deepcopy(model.get_decoder()).to("meta")
    ids = torch.zeros(1, 4, dtype=torch.long, device="meta")
    positions = torch.arange(4, device="meta")[None]
    documents = Documents(longest=4, asked=[])
    try:
        decoder(input_ids=ids, position_ids=positions, documents=documents, use_cache=False)
    except NotImplementedError:
        return  # cannot run without values: it is proven when they are there
    except RuntimeError as error:
        if "meta" in str(error):
            return
        raise RecipeError(f"{type(model).__name__}: these sizes do not fit each other: {error}") from None
    if len(documents.asked or ()) != blocks:
        raise RecipeError(
            f"{type(model).__name__}: {len(documents.asked or ())} of its {blocks} blocks use an attention that can be "
            "told where packed documents lie"
        )
