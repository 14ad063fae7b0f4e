"""What models call for attention (transformers' interface), and the choice of the backend that computes it."""

from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface

from pmc_llama.errors import RecipeError
from pmc_llama.model.attention.documents import Documents

NAME = "documents"
_NO_MATTER = {"position_ids", "cache_position", "use_cache", "output_attentions", "output_hidden_states", "is_causal"}
_NO_MATTER |= {"position_embeddings", "logits_to_keep", "return_dict", "output_router_logits"}
"""What models hand through to attention without meaning that it do something else."""


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    documents: Documents | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: query [B, H, T, D], key and value [B, KV, T, D] -> [B, T, H, D].

    Raises RecipeError for what it does not do (dropout, soft-capped scores, attention sinks, masks, another width of
    values), by its name.
    """
    if documents is None:
        raise RecipeError(f"{type(module).__name__} is not told by its model where packed documents lie")
    beyond = sorted(name for name, item in more.items() if name not in _NO_MATTER and item is not None)
    beyond += ["dropout"] if dropout else []
    beyond += ["no causal mask"] if getattr(module, "is_causal", True) is False else []
    beyond += ["another width of values"] if value.shape[-1] != query.shape[-1] else []
    if query.shape[1] % key.shape[1]:
        beyond += [f"{query.shape[1]} heads over {key.shape[1]} heads of keys and values"]
    if beyond:
        raise RecipeError(f"{type(module).__name__}: its attention has {beyond[0]}, which training does not know of")
    if documents.asked is not None:
        documents.asked.append(type(module).__name__)
        return query.new_empty(query.shape).transpose(1, 2), None
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    window = sliding_window if sliding_window is not None and sliding_window < documents.longest else None
    backend = documents.backend(query.dtype)
    layout = documents.layout(backend, query.device)
    return backend.attend(query, key, value, layout, documents.row_length, scale, window), None


AttentionInterface.register(NAME, attend)
