"""How much work a token is, and how many parameters a model has: numbers behind MFU and behind `plan`."""

from typing import Any

FLOPS_FORMULA = "6·N + 12·L·d·T per token trained whole, 4·N + 8·L·d·T with a frozen base (N: matrix parameters used)"


def matrix_parameters(config: Any) -> int:
    """Parameters that take part in matrix products: all but norms and the embedding's look-up, tied or not."""
    d: int = config.hidden_size
    kv: int = config.num_key_value_heads * _head_width(config)
    q: int = config.num_attention_heads * _head_width(config)
    block = d * q + 2 * d * kv + q * d + 3 * d * config.intermediate_size
    return int(config.num_hidden_layers * block + config.vocab_size * d)


def all_parameters(config: Any) -> int:
    """Parameters of the whole model."""
    d = int(config.hidden_size)
    norms = (2 * int(config.num_hidden_layers) + 1) * d
    embedding = 0 if config.tie_word_embeddings else int(config.vocab_size) * d
    return matrix_parameters(config) + norms + embedding


def linear_shapes(config: Any) -> dict[str, tuple[int, int]]:
    """(inputs, outputs) of the matrices of a block, by name."""
    d, f, width = config.hidden_size, config.intermediate_size, _head_width(config)
    kv, q = config.num_key_value_heads * width, config.num_attention_heads * width
    shapes = {"q_proj": (d, q), "k_proj": (d, kv), "v_proj": (d, kv), "o_proj": (q, d)}
    return shapes | {"gate_proj": (d, f), "up_proj": (d, f), "down_proj": (f, d)}


def lora_parameters(config: Any, r: int, targets: list[str]) -> int:
    """Parameters of the adapters."""
    shapes = linear_shapes(config)
    return sum(int(config.num_hidden_layers) * r * sum(shapes[name]) for name in targets if name in shapes)


def flops_per_token(config: Any, length: int, *, frozen_base: bool = False) -> float:
    """Work of one token in forward and backward, by FLOPS_FORMULA (attention counted whole, not its causal half)."""
    products = 4 if frozen_base else 6
    attention = config.num_hidden_layers * config.num_attention_heads * _head_width(config) * length
    return float(products * matrix_parameters(config) + 2 * products * attention)


def _head_width(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
