"""Before you rent GPUs: memory of each process by part, whether it fits, tokens per second, hours, cost and disk."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from pmc_llama.errors import RecipeError
from pmc_llama.experiment.cells import tuned_cells
from pmc_llama.model.gpus import Gpu, asked_gpus
from pmc_llama.model.hardware import FLOPS_FORMULA, all_parameters, flops_per_token, lora_parameters
from pmc_llama.model.memory import Memory, memory_of
from pmc_llama.model.shapes import SHAPES
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.inputs import base_model_path
from pmc_llama.recipe.training import LoraSection, TrainSection

MFU = 0.40
"""Assumed share of the GPUs' peak; well-tuned 7B runs reach 0.46 to 0.48, first attempts 0.30."""
RESERVED_BYTES = 3 * 2**30
"""CUDA context, NCCL buffers and fragmentation, on each GPU."""
CHECKPOINT_BYTES, EXPORT_BYTES = 12, 4
"""Of a trained parameter: in fp32 with two moments, and alone."""
CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"activation_checkpointing": "selective"},
    {"activation_checkpointing": "full"},
    {"activation_checkpointing": "full", "micro_batch": 1},
)
"""What makes a stage fit without another result, in the order of what it costs."""


@dataclass(frozen=True)
class StagePlan:
    """One training stage on the given hardware."""

    stage: str
    runs: int
    """Models that it trains: one, or one for each seed and model of the grid."""
    parameters: int
    trained: int
    memory: Memory
    fits: bool
    advice: str
    """What would fit, where it does not."""
    tokens_per_second: float | None
    """Of one run; None where the GPUs' speed is not known."""
    tokens: float | None
    """Of the whole stage; None where the corpus is not known."""
    hours: float | None
    """Of all its runs."""
    cost: float | None
    disk_bytes: float
    """While its last run goes on: checkpoints, and the models of all runs."""
    kept_bytes: float
    """What stays of that afterwards."""


@dataclass(frozen=True)
class Assumed:
    """What is taken for granted."""

    mfu: float = MFU
    usd_per_gpu_hour: float | None = None


def share_of_peak(mfu: float) -> float:
    """`mfu` as a share: 40 is 40 %. Raises RecipeError where it is neither a share nor a percentage."""
    share = mfu / 100 if mfu > 1 else mfu
    if not 0 < share <= 1:
        raise RecipeError(f"mfu {mfu:g}: give a share (0.4) or a percentage (40) of the hardware's peak")
    return share


def plan(
    recipe: Recipe,
    gpus: str | tuple[int, Gpu],
    *,
    mfu: float = MFU,
    tokens_per_epoch: float | None = None,
    usd_per_gpu_hour: float | None = None,
) -> list[StagePlan]:
    """What the recipe's pre-training and the tuning runs of each regime take on `gpus`, as `asked_gpus` reads them.

    `tokens_per_epoch` is of the corpus as the recipe orders it; without it, hours are left out unless `max_steps` fixes
    them. Raises RecipeError for hardware or a model that is not known.
    """
    count, gpu = asked_gpus(gpus) if isinstance(gpus, str) else gpus
    config, assumed = shape_of(recipe), Assumed(share_of_peak(mfu), usd_per_gpu_hour)
    runs: dict[str, int] = {}
    for cell in tuned_cells(recipe):
        runs[cell.regime] = runs.get(cell.regime, 0) + 1
    found = [_plan_stage("pretrain", 1, config, (recipe.pretrain, None), count, gpu, assumed, tokens_per_epoch)]
    found += [
        _plan_stage(name, runs[name], config, (regime, regime.lora), count, gpu, assumed, None)
        for name, regime in recipe.regimes.items()
        if regime.tuned
    ]
    return found


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


def _plan_stage(
    name: str,
    runs: int,
    config: Any,
    how: tuple[TrainSection, LoraSection | None],
    count: int,
    gpu: Gpu,
    assumed: Assumed,
    tokens_per_epoch: float | None,
) -> StagePlan:
    options, lora = how
    _refuse_shards(options, count, name)
    memory = memory_of(config, options, lora, count)
    fits = memory.total + RESERVED_BYTES <= gpu.memory_bytes
    work = flops_per_token(config, options.seq_len, frozen_base=lora is not None)
    rate = None if gpu.flops is None else assumed.mfu * gpu.flops * count / work
    tokens = None if tokens_per_epoch is None else tokens_per_epoch * options.epochs
    if options.max_steps is not None:
        most = float(options.max_steps * options.global_batch * options.seq_len)
        tokens = most if tokens is None else min(tokens, most)
    hours = None if tokens is None or rate is None else runs * tokens / rate / 3600
    price = assumed.usd_per_gpu_hour
    total = all_parameters(config)
    trained = total if lora is None else lora_parameters(config, lora.r, lora.targets)
    return StagePlan(
        stage=name,
        runs=runs,
        parameters=total,
        trained=trained,
        memory=memory,
        fits=fits,
        advice="" if fits else _advise(config, options, lora, count, gpu),
        tokens_per_second=rate,
        tokens=tokens,
        hours=hours,
        cost=None if hours is None or price is None else hours * count * price,
        disk_bytes=float(trained * (CHECKPOINT_BYTES * (options.keep_last + 1) + EXPORT_BYTES * runs)),
        kept_bytes=float(trained * (_kept_checkpoints(options) * runs + EXPORT_BYTES * runs)),
    )


def _kept_checkpoints(options: TrainSection) -> int:
    """Bytes a trained parameter; those that `keep_every` never deletes come on top."""
    return 0 if options.save_every is None else CHECKPOINT_BYTES * options.keep_last


def _refuse_shards(options: TrainSection, count: int, name: str) -> None:
    if options.shard_processes is not None and count % options.shard_processes:
        raise RecipeError(
            f"{name}: shard_processes {options.shard_processes} does not divide {count} GPUs into equal groups"
        )


def changes_that_fit(
    config: Any, options: TrainSection, lora: LoraSection | None, count: int, gpu: Gpu
) -> dict[str, Any] | None:
    """The smallest changes of `options` with which it fits `count` GPUs (`{}`: as it is); None where none helps."""
    room = gpu.memory_bytes - RESERVED_BYTES
    for change in CHANGES:
        if memory_of(config, options.model_copy(update=change), lora, count).total <= room:
            return change
    return None


def _advise(config: Any, options: TrainSection, lora: LoraSection | None, count: int, gpu: Gpu) -> str:
    """The smallest changes that make it fit, tried in the order of what they cost."""
    room, found = gpu.memory_bytes - RESERVED_BYTES, []
    change = changes_that_fit(config, options, lora, count, gpu)
    if change is not None:
        found.append(" and ".join(f"{key}: {value}" for key, value in change.items()))
    lean = options.model_copy(update={"activation_checkpointing": "full"})
    if options.shard_processes is not None and options.shard_processes < count:
        lean = lean.model_copy(update={"shard_processes": None})
        if memory_of(config, lean, lora, count).total <= room:
            found.append("shard_processes: null (with activation_checkpointing: full)")
    more = next(
        (n for n in (2, 4, 8, 16, 32, 64, 128) if n > count and memory_of(config, lean, lora, n).total <= room), None
    )
    if more is not None:
        found.append(f"{more} of these GPUs (with activation_checkpointing: full)")
    if lora is None and memory_of(config, lean, LoraSection(), count).total <= room:
        found.append("LoRA (kind: peft) on these GPUs")
    return "does not fit; would fit: " + "; or ".join(found) if found else "does not fit, nor with 128 of these GPUs"


def render(stages: list[StagePlan], gpus: str | tuple[int, Gpu], mfu: float = MFU) -> str:
    """The plan as text; stages that follow each other and need the same are one paragraph."""
    count, gpu = asked_gpus(gpus) if isinstance(gpus, str) else gpus
    assumed = f"at an assumed MFU of {share_of_peak(mfu):.0%} ({FLOPS_FORMULA})"
    speed = assumed if gpu.flops is not None else "whose speed is not known (--tflops says it)"
    lines = [f"on {count}x{gpu.name} ({gpu.memory_bytes / 2**30:.0f} GiB each), {speed}"]
    for _, alike in groupby(stages, lambda one: replace(one, stage="")):
        lines += _paragraph(list(alike))
    return "\n".join([*lines, *_totals(stages)])


def _paragraph(alike: list[StagePlan]) -> Iterable[str]:
    stage, names = alike[0], ", ".join(one.stage for one in alike)
    runs = "" if stage.runs == 1 else f", {stage.runs} runs" + (" each" if len(alike) > 1 else "")
    yield f"\n{names}: {stage.parameters / 1e9:.2f} B parameters, {stage.trained / 1e6:,.1f} M trained{runs}"
    parts = ", ".join(f"{name} {value / 2**30:.1f}" for name, value in vars(stage.memory).items())
    verdict = "fits" if stage.fits else stage.advice
    yield f"  memory of a GPU: {stage.memory.total / 2**30:.1f} GiB ({parts}): {verdict}"
    yield f"  disk: {stage.disk_bytes / 1e9:,.0f} GB for checkpoints and models"
    if stage.tokens_per_second is not None:
        yield f"  {stage.tokens_per_second:,.0f} tokens/s, {1e9 / stage.tokens_per_second / 3600:,.1f} hours a billion"
    if stage.hours is not None and stage.tokens is not None:
        cost = "" if stage.cost is None else f", ${stage.cost:,.0f}"
        yield f"  {stage.tokens / 1e9:,.2f} B tokens: {stage.hours:,.1f} hours{cost}"


def _totals(stages: list[StagePlan]) -> Iterable[str]:
    """What all stages take together, and of which nothing can be said."""
    known = [stage for stage in stages if stage.hours is not None]
    open_ended = [stage.stage for stage in stages if stage.hours is None]
    hours = sum(stage.hours for stage in known if stage.hours is not None)
    costs = [stage.cost for stage in known if stage.cost is not None]
    said = [f"{hours:,.1f} hours"] if known else []
    said += [f"${sum(costs):,.0f}"] if costs else []
    before = [sum(stage.kept_bytes for stage in stages[:number]) for number in range(len(stages))]
    disk = max(kept + stage.disk_bytes for kept, stage in zip(before, stages, strict=True))
    said += [f"{disk / 1e9:,.0f} GB of disk"]
    without = "; hours without those of " + ", ".join(open_ended) if known and open_ended else ""
    yield f"\nin all: {', '.join(said)}{without}"
