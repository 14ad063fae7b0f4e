"""GPUs by the names that people, data sheets and CUDA give them: dense bf16 peak and memory."""

import re
from dataclasses import dataclass
from typing import Any

from pmc_llama.errors import RecipeError

GIB = 2**30


@dataclass(frozen=True)
class Gpu:
    """A GPU model: dense bf16 peak with sums in fp32 (figures with sparsity are twice as high), and memory."""

    name: str
    flops: float | None
    """None where nobody said it: then there is no speed, and no MFU."""
    memory_bytes: int


_TABLE = (  # makers' data sheets; of one model's variants, the one that is meant without further words comes first
    ("A100", 312e12, 80),
    ("A100", 312e12, 40),
    ("H100", 989.4e12, 80),
    ("H100-PCIe", 756e12, 80),
    ("H100-NVL", 835e12, 94),
    ("H200", 989.4e12, 141),
    ("GH200", 989.4e12, 96),
    ("GH200", 989.4e12, 144),
    ("B200", 2250e12, 180),
    ("MI300X", 1307.4e12, 192),
    ("L40S", 362e12, 48),
    ("L4", 121e12, 24),
    ("A10", 125e12, 24),
    ("A6000", 154.8e12, 48),
    ("RTX-3090", 71e12, 24),
    ("RTX-4090", 165.2e12, 24),
    ("RTX-5090", 209.5e12, 32),
)
GPUS = {f"{name}-{gib}GB": Gpu(f"{name}-{gib}GB", flops, gib * GIB) for name, flops, gib in _TABLE}
_FAMILIES = sorted({name for name, *_ in _TABLE}, key=len, reverse=True)
_OTHERS = re.compile(r"\b(laptop|mobile|max ?q|mig|ti|super|ada)\b")
"""Words that make another device of the same number."""


def known_gpu(name: str, memory_bytes: int | None = None) -> Gpu | None:
    """The GPU that is called `name`, in any spelling; None where it is not known for sure.

    `memory_bytes`, where a device has said it, decides between variants whose names are alike.
    """
    words = re.sub(r"[^a-z0-9]+", " ", name.lower()).strip()
    if _OTHERS.search(words):
        return None
    found = [family for family in _FAMILIES if _is_of(family, words)]
    if not found:
        return None
    family = "H100-PCIe" if found[0] == "H100" and "pcie" in words.split() else found[0]
    variants = [gpu for gpu in GPUS.values() if gpu.name.rpartition("-")[0] == family]
    said = [int(size) for size in re.findall(r"(\d+) ?g(?:i?b)?\b", words)]
    if memory_bytes is not None:
        return min(variants, key=lambda gpu: abs(gpu.memory_bytes - memory_bytes))
    exact = [gpu for gpu in variants if gpu.memory_bytes // GIB in said]
    if exact:
        return exact[0]
    others = [size for size in said if size * GIB <= max(gpu.memory_bytes for gpu in variants)]
    return None if others else variants[0]  # what is larger is no memory of a GPU: `GH200 480GB` has that of its host


def _is_of(family: str, words: str) -> bool:
    """Whether `words` hold the family's name, and not that of another: no further digit, and no single letter."""
    parts = family.lower().removeprefix("rtx-").split("-")
    before = r"(?<![0-9])" if parts[0].isdigit() else r"(?<![a-z0-9])(?:nvidia|geforce|rtx|tesla|amd|instinct)?"
    after = r"(?![0-9])(?![a-z]\b)" if len(parts) == 1 else r".*\b" + parts[1]
    return re.search(before + parts[0] + after, words) is not None


def asked_gpus(text: str, memory_gb: float | None = None, tflops: float | None = None) -> tuple[int, Gpu]:
    """(number, model) of what somebody wrote: `8xA100-80GB`, `8 x NVIDIA H100 SXM`, `RTX 4090 x2`, or `auto`.

    `memory_gb` and `tflops` say what the device has, and allow any name. Raises RecipeError for one that is not known.
    """
    if text.strip().lower() == "auto":
        number, gpu = found_gpus()
        name = gpu.name
    else:
        number, name = _number_and_name(text)
        known = known_gpu(name)
        if known is None and memory_gb is None:
            raise RecipeError(
                f"GPUs {text!r}: {name!r} is not known; expected a number, x and one of {', '.join(GPUS)}, for example "
                "8xA100-80GB, or auto; of others, say what they have with --memory-gb and --tflops"
            )
        gpu = known or Gpu(name, None, 0)
    memory = gpu.memory_bytes if memory_gb is None else int(memory_gb * GIB)
    flops = gpu.flops if tflops is None else tflops * 1e12
    if memory <= 0 or number < 1 or (flops is not None and flops <= 0):
        raise RecipeError(f"GPUs {text!r}: number, memory and speed must be above zero")
    return number, Gpu(gpu.name, flops, memory)


def _number_and_name(text: str) -> tuple[int, str]:
    text = " ".join(text.split())
    before = re.fullmatch(r"(\d+)(?: ?[x×*] ?| )(.+)", text, re.IGNORECASE)
    after = re.fullmatch(r"(.+?)(?: [x×*] ?|[×*:] ?|(?<!rt)x)(\d{1,3})", text, re.IGNORECASE)
    if before is not None:
        return int(before[1]), before[2]
    return (int(after[2]), after[1]) if after is not None else (1, text)


def found_gpus() -> tuple[int, Gpu]:
    """The GPUs of this machine, as many as are like the smallest. Raises RecipeError where there are none."""
    import torch

    devices = []
    if torch.cuda.is_available():
        devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    if not devices:
        raise RecipeError("--gpus auto: torch finds no GPU here; name the ones that you mean, as 8xA100-80GB")
    smallest = min(devices, key=lambda device: device.total_memory)
    known = known_gpu(smallest.name, smallest.total_memory)
    flops = None if known is None else known.flops
    return len(devices), Gpu(smallest.name, flops, smallest.total_memory)


def gpu_peak(device: Any) -> float | None:
    """Dense bf16 FLOP/s of a torch device, if it is a GPU that is known."""
    import torch

    if device.type != "cuda":
        return None
    gpu = known_gpu(torch.cuda.get_device_name(device), torch.cuda.get_device_properties(device).total_memory)
    return None if gpu is None else gpu.flops
