"""One forward pass for requests of any lengths: their new tokens in one row, each with keys and values of its own.

Nothing is padded and nothing is copied when a request begins or ends. Where a model cannot be told which tokens belong
together (or its rotary embedding depends on the longest of them), requests are computed one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

from pmc_llama.errors import InputError
from pmc_llama.model.accepted import carries_along, longest_with_fixed_positions

NAME = "requests"
_MEANS_NOTHING = {"position_ids", "cache_position", "use_cache", "output_attentions", "output_hidden_states"}
_MEANS_NOTHING |= {
    "position_embeddings",
    "logits_to_keep",
    "return_dict",
    "output_router_logits",
    "is_causal",
    "dropout",
}
"""What models hand through to attention without asking it for something else; the model is in eval mode."""


@dataclass(eq=False)
class Kept:
    """What a model keeps of one request's tokens."""

    room: int
    """Tokens that it may come to hold."""
    length: int = 0
    """Tokens that it holds."""
    layers: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """Keys and values [KV, room, D] of each layer."""
    own: Any = None
    """The model's own kind of cache, for requests that are computed one by one."""

    def add(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keep `key` and `value` [KV, n, D] behind what is there; all of both, [KV, length + n, D]."""
        if layer not in self.layers:
            self.layers[layer] = tuple(x.new_empty(len(x), self.room, x.shape[-1]) for x in (key, value))  # type: ignore[assignment]
        end = self.length + key.shape[1]
        keys, values = self.layers[layer]
        keys[:, self.length : end], values[:, self.length : end] = key, value
        return keys[:, :end], values[:, :end]


@dataclass(frozen=True)
class Part:
    """Tokens of one request to compute now."""

    kept: Kept
    ids: Sequence[int]
    before: Sequence[int] = ()
    """All tokens before them."""
    all_logits: bool = False
    """Whether the logits of each token are wanted, not of the last one alone."""


class Forward:
    """A model in eval mode as the engine runs it."""

    def __init__(self, model: Any) -> None:
        """Find out how requests can be computed. Raises InputError for a model that keeps nothing of its tokens."""
        self.model = model
        self.fixed_up_to = longest_with_fixed_positions(model.config)
        self._some_logits = "logits_to_keep" in signature(model.forward).parameters
        self._plain = model.config._attn_implementation
        self.together = self.fixed_up_to is None and carries_along(model) is None and self._asks_us()
        if not self.together and getattr(model, "_is_stateful", False):
            raise InputError(
                f"{type(model).__name__} keeps no keys and values of its tokens, which this server goes by"
            )

    @property
    def token_bytes(self) -> int:
        """Bytes that one token takes as long as its request runs."""
        config = self.model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return int(2 * config.num_hidden_layers * heads * width * self.model.dtype.itemsize)

    def __call__(self, parts: Sequence[Part]) -> list[Tensor]:
        """Compute the parts; for each the logits [V] behind its last token, or [n, V] behind each of its n tokens.

        What was computed is kept only when the call returns, so that one that raised may be made again.
        """
        found = self._packed(parts) if self.together else [self._alone(part) for part in parts]
        for part in parts:
            part.kept.length += len(part.ids)
        return found

    def plainly(self, work: Any) -> Any:
        """Call `work` while the model is as transformers has it."""
        if self.together:
            self.model.set_attn_implementation(self._plain)
        try:
            return work()
        finally:
            if self.together:
                self.model.set_attn_implementation(NAME)

    def _packed(self, parts: Sequence[Part]) -> list[Tensor]:
        device = self.model.device
        ids = torch.tensor([[token for part in parts for token in part.ids]], device=device)  # [1, T]
        lengths = [part.kept.length for part in parts]
        places = [n + i for n, part in zip(lengths, parts, strict=True) for i in range(len(part.ids))]
        wanted: list[int] = []
        sizes: list[int] = []
        end = 0
        for part in parts:
            end += len(part.ids)
            sizes.append(len(part.ids) if part.all_logits else 1)
            wanted += range(end - sizes[-1], end)
        keep: dict[str, Any] = {"logits_to_keep": torch.tensor(wanted, device=device)} if self._some_logits else {}
        positions = torch.tensor([places], device=device)
        logits = self.model(ids, position_ids=positions, requests=parts, use_cache=False, **keep).logits[0]
        logits = logits if self._some_logits else logits[wanted]
        found = logits.split(sizes)
        return [one if part.all_logits else one[0] for one, part in zip(found, parts, strict=True)]

    def _alone(self, part: Part) -> Tensor:
        kept, ids = part.kept, list(part.ids)
        if self.fixed_up_to and kept.length <= self.fixed_up_to < kept.length + len(ids):
            kept.own, ids = None, [*part.before, *ids]  # other frequencies from here on: all keys change
        keep = {"logits_to_keep": 0 if part.all_logits else 1} if self._some_logits else {}
        done = self.model(
            torch.tensor([ids], device=self.model.device), past_key_values=kept.own, use_cache=True, **keep
        )
        kept.own = done.past_key_values
        logits: Tensor = done.logits[0]
        return logits[-len(part.ids) :] if part.all_logits else logits[-1]

    def _asks_us(self) -> bool:
        """Whether all layers of the model, told of two requests, ask our attention and nothing that it does not do."""
        parts = [Part(Kept(2), [0, 0]), Part(Kept(1), [0])]
        try:
            self.model.set_attn_implementation(NAME)
            with torch.inference_mode():
                self._packed(parts)
        except Exception:  # models are many, and raise what they like
            asked = False
        else:
            asked = len(parts[0].kept.layers) == self.model.config.get_text_config().num_hidden_layers
        if not asked:
            self.model.set_attn_implementation(self._plain)
        return asked


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    requests: Sequence[Part],
    scaling: float | None = None,
    sliding_window: int | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: query [1, H, T, D], key and value [1, KV, T, D] -> [1, T, H, D].

    Raises ValueError for what it does not do (soft-capped scores, attention sinks …), by its name.
    """
    beyond = sorted(name for name, item in more.items() if name not in _MEANS_NOTHING and item is not None)
    if beyond or getattr(module, "is_causal", True) is False:
        raise ValueError(f"attention has {beyond or 'no causal mask'}")
    heads, shared = query.shape[1], query.shape[1] // key.shape[1]
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = query.new_empty(query.shape[2], heads, value.shape[-1])  # [T, H, D]
    start = 0
    for part in requests:
        end = start + len(part.ids)
        keys, values = part.kept.add(module.layer_idx, key[0, :, start:end], value[0, :, start:end])  # type: ignore[arg-type]
        asked = query[0, :, start:end].reshape(-1, shared, end - start, query.shape[-1])  # [KV, H / KV, n, D]
        result = _one(asked, keys, values, scale) if end - start == 1 and sliding_window is None else None
        if result is None:
            result = _several(asked, keys, values, scale, sliding_window)
        out[start:end] = result.flatten(0, 1).transpose(0, 1)
        start = end
    return out[None], None


def _one(query: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    """One token behind all others: query [KV, G, 1, D], keys and values [KV, L, D] -> [KV, G, 1, D]."""
    scores = torch.bmm(query[:, :, 0], keys.transpose(1, 2)).float() * scale  # [KV, G, L]
    return torch.bmm(scores.softmax(-1).to(values.dtype), values)[:, :, None]


def _several(query: Tensor, keys: Tensor, values: Tensor, scale: float, window: int | None) -> Tensor:
    """The last n tokens of L: query [KV, G, n, D], keys and values [KV, L, D] -> [KV, G, n, D]."""
    count, length = query.shape[2], keys.shape[1]
    sees = torch.ones(count, length, dtype=torch.bool, device=query.device).tril(length - count)
    if window is not None:
        sees = sees.triu(length - count - window + 1)
    shape = (-1, query.shape[1], -1, -1)
    keys, values = keys[:, None].expand(shape), values[:, None].expand(shape)
    return F.scaled_dot_product_attention(query, keys, values, attn_mask=sees, scale=scale)


AttentionInterface.register(NAME, attend)
