"""Shapes of the models that our recipes name, so that one can plan without downloading them."""

_LLAMA_1 = {"vocab_size": 32000, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6}


def _llama_1(hidden: int, intermediate: int, layers: int, heads: int) -> dict[str, int | float]:
    return _LLAMA_1 | {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
    }


SHAPES: dict[str, dict[str, int | float]] = {
    "huggyllama/llama-7b": _llama_1(4096, 11008, 32, 32),
    "huggyllama/llama-13b": _llama_1(5120, 13824, 40, 40),
    "huggyllama/llama-30b": _llama_1(6656, 17920, 60, 52),
    "huggyllama/llama-65b": _llama_1(8192, 22016, 80, 64),
    "HuggingFaceTB/SmolLM2-135M-Instruct": {
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "tie_word_embeddings": True,
    },
    "meta-llama/Llama-3.1-8B": {
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
}
"""LlamaConfig fields by hub id (Touvron et al. 2023, table 2; Grattafiori et al. 2024, table 3; SmolLM2's own
configuration)."""
