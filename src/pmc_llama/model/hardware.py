"""What GPUs can do, and how much work a token is: the two numbers behind MFU and behind `plan`."""

from dataclasses import dataclass
from typing import Any

FLOPS_FORMULA = "6·N + 12·L·d·T per token trained whole, 4·N + 8·L·d·T with a frozen base (N: matrix parameters used)"


@dataclass(frozen=True)
class Gpu:
    """A GPU model: dense bf16 peak (NVIDIA's data sheets; figures with sparsity are twice as high) and memory."""

    name: str
    flops: float
    memory_bytes: int
    marks: tuple[str, ...]
    """All of them stand in the name that CUDA gives."""


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("A100-40GB", 312e12, 40 * 2**30, ("A100", "40GB")),
        Gpu("A100-80GB", 312e12, 80 * 2**30, ("A100", "80GB")),
        Gpu("H100-80GB", 989.4e12, 80 * 2**30, ("H100", "80GB HBM3")),
        Gpu("H200-141GB", 989.4e12, 141 * 2**30, ("H200",)),
    )
}


def gpu_by_cuda_name(name: str) -> Gpu | None:
    """The GPU that CUDA calls `name`; None where it is not known for sure, so that nobody is told a guessed MFU."""
    found = [gpu for gpu in GPUS.values() if all(mark in name for mark in gpu.marks)]
    return found[0] if len(found) == 1 else None


def gpu_peak(device: Any) -> float | None:
    """Dense bf16 FLOP/s of a torch device, if it is a GPU that is known."""
    import torch

    gpu = gpu_by_cuda_name(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    return None if gpu is None else gpu.flops


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


def lora_parameters(config: Any, r: int, targets: list[str]) -> int:
    """Parameters of the adapters."""
    d, f, width = config.hidden_size, config.intermediate_size, _head_width(config)
    kv, q = config.num_key_value_heads * width, config.num_attention_heads * width
    shapes = {"q_proj": (d, q), "k_proj": (d, kv), "v_proj": (d, kv), "o_proj": (q, d)}
    shapes |= {"gate_proj": (d, f), "up_proj": (d, f), "down_proj": (f, d)}
    return sum(int(config.num_hidden_layers) * r * sum(shapes[name]) for name in targets if name in shapes)


def flops_per_token(config: Any, length: int, *, frozen_base: bool = False) -> float:
    """Work of one token in forward and backward, by FLOPS_FORMULA (attention counted whole, not its causal half)."""
    products = 4 if frozen_base else 6
    attention = config.num_hidden_layers * config.num_attention_heads * _head_width(config) * length
    return float(products * matrix_parameters(config) + 2 * products * attention)


def _head_width(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
