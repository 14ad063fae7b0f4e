"""Before you rent GPUs: memory of each process by part, whether it fits, tokens per second, hours and cost."""

import re
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from pmc_llama.errors import RecipeError
from pmc_llama.model.hardware import (
    FLOPS_FORMULA,
    GPUS,
    Gpu,
    all_parameters,
    flops_per_token,
    lora_parameters,
)
from pmc_llama.model.shapes import SHAPES
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.inputs import base_model_path
from pmc_llama.recipe.training import LoraSection, TrainSection

MFU = 0.40
"""Assumed share of the GPUs' peak; well-tuned 7B runs reach 0.46 to 0.48, first attempts 0.30."""
RESERVED_BYTES = 3 * 2**30
"""CUDA context, NCCL buffers and fragmentation, on each GPU."""
NF4_BYTES = 0.516
"""A parameter in 4 bits, and its share of the scales (quantised themselves: 8 bits for 64 parameters, and a little)."""
HEAP_GAPS = 1.2
"""Memory between activations on CPUs, where freed blocks are kept (`train.memory.keep_freed_memory`)."""
CHUNK_BYTES_PER_LOGIT = 12
"""Loss: logits and their gradient in bf16, log-probabilities in fp32, and a temporary, of one chunk."""


@dataclass(frozen=True)
class Memory:
    """Peak memory of one process, by part, in bytes."""

    weights: float
    """What is trained in fp32, a frozen base in bf16; sharded."""
    optimizer: float
    """Two fp32 moments a trained parameter; sharded."""
    gradients: float
    """fp32, sharded, and those of one block before they are."""
    gathered: float
    """bf16 weights gathered for computing: two blocks and the root, or all on a single process."""
    activations: float
    loss: float
    """One chunk of logits, and the head's gradient."""

    @property
    def total(self) -> float:
        """Sum of all parts."""
        return float(sum(vars(self).values()))


@dataclass(frozen=True)
class StagePlan:
    """One training stage on the given hardware."""

    stage: str
    parameters: int
    trained: int
    memory: Memory
    fits: bool
    advice: str
    """What would fit, where it does not."""
    tokens_per_second: float
    tokens: float | None
    """Of the whole stage; None where the corpus is not known."""
    hours: float | None
    cost: float | None


def plan(
    recipe: Recipe,
    gpus: str,
    *,
    mfu: float = MFU,
    tokens_per_epoch: float | None = None,
    usd_per_gpu_hour: float | None = None,
) -> list[StagePlan]:
    """What the recipe's pre-training and one tuning run of each regime take on `gpus`, such as `8xA100-80GB`.

    `tokens_per_epoch` is of the corpus as the recipe orders it; without it, hours are left out unless `max_steps` fixes
    them. Raises RecipeError for hardware or a model that is not known.
    """
    count, gpu = _parse(gpus)
    config = shape_of(recipe)
    stages: list[tuple[str, TrainSection, LoraSection | None]] = [("pretrain", recipe.pretrain, None)]
    stages += [(name, regime, regime.lora) for name, regime in recipe.regimes.items() if regime.tuned]
    return [
        _plan_stage(
            name,
            config,
            options,
            lora,
            count,
            gpu,
            mfu=mfu,
            tokens_per_epoch=tokens_per_epoch if name == "pretrain" else None,
            usd_per_gpu_hour=usd_per_gpu_hour,
        )
        for name, options, lora in stages
    ]


def shape_of(recipe: Recipe) -> Any:
    """The base model's configuration: of the recipe itself, of a folder, or of a hub id whose shape is known."""
    from transformers import AutoConfig, LlamaConfig

    from pmc_llama.model.folders import first_line

    base = recipe.base
    if base.config is not None:
        return LlamaConfig(**base.config)
    if base.path in SHAPES:
        return LlamaConfig(**SHAPES[base.path])
    try:
        return AutoConfig.from_pretrained(base_model_path(recipe), trust_remote_code=False)
    except (OSError, ValueError) as error:
        known = ", ".join(SHAPES)
        where = f"base.path: no usable config.json at {base.path!r}"
        raise RecipeError(f"{where} ({first_line(error)}), and its shape is not known ({known})") from None


def memory_of(
    config: Any, options: TrainSection, lora: LoraSection | None, processes: int, *, cuda: bool = True
) -> Memory:
    """Peak memory of one of `processes`, from shapes alone (bf16 compute, fp32 master weights and moments)."""
    total = all_parameters(config)
    trained = total if lora is None else lora_parameters(config, lora.r, lora.targets)
    frozen = 0 if lora is None else total
    d, vocab, layers = config.hidden_size, config.vocab_size, config.num_hidden_layers
    outside = vocab * d * (1 if config.tie_word_embeddings else 2)
    block = (total - outside) / layers
    in_reach = trained if processes == 1 else min(total, 2 * block + outside)
    head = 0 if lora is not None else vocab * d
    tokens = options.micro_batch * options.seq_len
    frozen_bytes = 2 * frozen / processes
    if lora is not None and lora.quantize is not None:  # whole on each process, and read as it is
        frozen_bytes, in_reach = NF4_BYTES * (total - outside) + 2 * outside, 0
    return Memory(
        weights=4 * trained / processes + frozen_bytes,
        optimizer=8 * trained / processes,
        gradients=4 * trained / processes + (0 if lora is not None else 6 * block),
        gathered=2 * in_reach,
        activations=_activation_bytes(config, options, tokens, cuda=cuda),
        loss=CHUNK_BYTES_PER_LOGIT * min(2**27 if cuda else 2**24, tokens * vocab) + 6 * head + 4 * tokens * d,
    )


def _activation_bytes(config: Any, options: TrainSection, tokens: int, *, cuda: bool) -> float:
    """What transformers' LLaMA block keeps for backward in bf16, by tensor, for each token and layer."""
    d, f, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or d // heads
    q, kv = heads * width, config.num_key_value_heads * width
    norms = 2 * 8 * d  # fp32 copy, bf16 copy and bf16 product, two times
    attention = 2 * (q + 2 * kv) + 2 * q if cuda else 2 * 4 * q + heads * (options.seq_len + 256)
    mlp = 8 * f  # gate, silu, up and their product
    whole = norms + attention + mlp
    kept = {"none": whole, "selective": 2 * d + 2 * (q + 2 * kv) + 2 * q + 2 * d + 6 * f, "full": 2 * d}
    at_once = 0 if options.activation_checkpointing == "none" else whole
    gaps = 1.0 if cuda else HEAP_GAPS
    return float(gaps * tokens * (layers * kept[options.activation_checkpointing] + at_once + 8 * d))


def _plan_stage(
    name: str,
    config: Any,
    options: TrainSection,
    lora: LoraSection | None,
    count: int,
    gpu: Gpu,
    *,
    mfu: float,
    tokens_per_epoch: float | None,
    usd_per_gpu_hour: float | None,
) -> StagePlan:
    memory = memory_of(config, options, lora, count)
    fits = memory.total + RESERVED_BYTES <= gpu.memory_bytes
    rate = mfu * gpu.flops * count / flops_per_token(config, options.seq_len, frozen_base=lora is not None)
    tokens = None if tokens_per_epoch is None else tokens_per_epoch * options.epochs
    if options.max_steps is not None:
        most = float(options.max_steps * options.global_batch * options.seq_len)
        tokens = most if tokens is None else min(tokens, most)
    hours = None if tokens is None else tokens / rate / 3600
    cost = None if hours is None or usd_per_gpu_hour is None else hours * count * usd_per_gpu_hour
    total = all_parameters(config)
    trained = total if lora is None else lora_parameters(config, lora.r, lora.targets)
    advice = "" if fits else _advise(config, options, lora, count, gpu)
    return StagePlan(name, total, trained, memory, fits, advice, rate, tokens, hours, cost)


def _advise(config: Any, options: TrainSection, lora: LoraSection | None, count: int, gpu: Gpu) -> str:
    """The smallest changes that make it fit, tried in the order of what they cost."""
    room = gpu.memory_bytes - RESERVED_BYTES
    found = []
    for change in (
        {"activation_checkpointing": "selective"},
        {"activation_checkpointing": "full"},
        {"activation_checkpointing": "full", "micro_batch": 1},
    ):
        if memory_of(config, options.model_copy(update=change), lora, count).total <= room:
            found.append(" and ".join(f"{key}: {value}" for key, value in change.items()))
            break
    lean = options.model_copy(update={"activation_checkpointing": "full"})
    more = next(
        (n for n in (2, 4, 8, 16, 32, 64, 128) if n > count and memory_of(config, lean, lora, n).total <= room), None
    )
    if more is not None:
        found.append(f"{more} of these GPUs (with activation_checkpointing: full)")
    if lora is None and memory_of(config, lean, LoraSection(), count).total <= room:
        found.append("LoRA (kind: peft) on these GPUs")
    return "does not fit; would fit: " + "; or ".join(found) if found else "does not fit, nor with 128 of these GPUs"


def _parse(gpus: str) -> tuple[int, Gpu]:
    match = re.fullmatch(r"(?:(\d+)x)?(.+)", gpus)
    if match is None or match[2] not in GPUS or match[1] == "0":
        raise RecipeError(f"GPUs {gpus!r}: expected a number, x and one of {', '.join(GPUS)}, for example 8xA100-80GB")
    return int(match[1] or 1), GPUS[match[2]]


def render(stages: list[StagePlan], gpus: str, mfu: float = MFU) -> str:
    """The plan as text; stages that follow each other and need the same are one paragraph."""
    lines = [f"on {gpus}, at an assumed MFU of {mfu:.0%} ({FLOPS_FORMULA})"]
    for stage, alike in groupby(stages, lambda one: replace(one, stage="")):
        names = ", ".join(one.stage for one in alike)
        lines.append(f"\n{names}: {stage.parameters / 1e9:.2f} B parameters, {stage.trained / 1e6:,.1f} M trained")
        parts = ", ".join(f"{name} {value / 2**30:.1f}" for name, value in vars(stage.memory).items())
        verdict = "fits" if stage.fits else stage.advice
        lines.append(f"  memory of a GPU: {stage.memory.total / 2**30:.1f} GiB ({parts}): {verdict}")
        lines.append(
            f"  {stage.tokens_per_second:,.0f} tokens/s, {1e9 / stage.tokens_per_second / 3600:,.1f} hours a billion"
        )
        if stage.hours is not None and stage.tokens is not None:
            cost = "" if stage.cost is None else f", ${stage.cost:,.0f}"
            lines.append(f"  {stage.tokens / 1e9:,.2f} B tokens: {stage.hours:,.1f} hours{cost}")
    return "\n".join(lines)
