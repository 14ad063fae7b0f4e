"""Which number format a device multiplies fast."""

from typing import Literal

import torch


def compute_dtype(precision: Literal["auto", "bf16", "fp32"], device: torch.device) -> torch.dtype:
    """The format of weights and activations in forward and backward; master weights and reductions are fp32 always.

    `auto` is bf16 on GPUs that support it and on CPUs with AVX512-BF16 or AMX, where it is several times faster than
    fp32; elsewhere fp32, as bf16 without such units is emulated.
    """
    if precision == "auto":
        return torch.bfloat16 if _multiplies_bf16(device) else torch.float32
    return torch.bfloat16 if precision == "bf16" else torch.float32


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        known = torch.cpu.get_capabilities()
        return bool(known.get("avx512_bf16") or known.get("amx_bf16"))
    return False
