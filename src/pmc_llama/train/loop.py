"""The one training loop: pre-training, full tuning and LoRA differ in data, trained weights and labels only."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from pmc_llama.errors import Stopped, TrainingError
from pmc_llama.files import write_json
from pmc_llama.model.gpus import gpu_peak
from pmc_llama.model.hardware import flops_per_token
from pmc_llama.model.load import ModelOrigin, build_model
from pmc_llama.model.precision import compute_dtype
from pmc_llama.model.save import export_hf
from pmc_llama.recipe.training import LoraSection, TrainSection
from pmc_llama.records.training import FinishedTraining, TrainSummary
from pmc_llama.run_dir import TrainingDir
from pmc_llama.train.agreement import agree
from pmc_llama.train.batches import BatchSource, Rows
from pmc_llama.train.checkpoint import Checkpoints, newest
from pmc_llama.train.heldout import measure
from pmc_llama.train.identity import Identity, finished_summary, identity_of
from pmc_llama.train.isolation import prove_isolation
from pmc_llama.train.memory import dry_run, free_models, keep_freed_memory, too_large
from pmc_llama.train.metrics import Metrics, Speed
from pmc_llama.train.microbatch import micro_batches
from pmc_llama.train.optim import Guard, build_optimizer, learning_rate
from pmc_llama.train.signals import StopFlag
from pmc_llama.train.step import attach_loss, train_step
from pmc_llama.train.world import IN_STEPS, PATIENCE, World, join_world


def train(
    *,
    model: ModelOrigin,
    batches: BatchSource,
    options: TrainSection,
    out: Path,
    export_to: Path,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    lora: LoraSection | None = None,
    heldout: Mapping[str, BatchSource] = {},
    label: str = "train",
    continues: Path | None = None,
) -> TrainSummary:
    """Train `model` on `batches` and write it to `export_to`; the same call goes on where one was interrupted.

    `continues` is the folder of an earlier run's checkpoints: where there is one, training begins with the weights and
    the optimizer's moments of the newest instead of `model`'s weights, and with step 1 of its own schedule.
    Every process of a run under torchrun calls it alike. `out` gets checkpoints, metrics.jsonl and TensorBoard files.
    Raises Stopped after a signal (the checkpoint is there), CheckpointError if `out` belongs to another run,
    TrainingError if a loss is not finite, InputError or RecipeError for a model that cannot be used.
    """
    job = _Job(
        model=model,
        batches=batches,
        options=options,
        out=out,
        export_to=export_to,
        tokenizer=tokenizer,
        seed=seed,
        lora=lora,
        heldout=heldout,
        label=label,
        continues=continues,
        steps=min(batches.steps, options.max_steps or batches.steps),
    )
    try:
        with join_world(options.shard_processes) as world, StopFlag(options.time_limit_s) as stop:
            return _do(job, world, stop)
    finally:
        free_models()


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What `train` was asked for."""

    model: ModelOrigin
    batches: BatchSource
    options: TrainSection
    out: Path
    export_to: Path
    tokenizer: PreTrainedTokenizerBase
    seed: int
    lora: LoraSection | None
    heldout: Mapping[str, BatchSource]
    label: str
    continues: Path | None
    steps: int


def _do(job: _Job, world: World, stop: StopFlag) -> TrainSummary:
    options, continues = job.options, job.continues
    dtype = compute_dtype(options.precision, world.device)
    identity = identity_of(
        job.model, job.batches.fingerprint, options, job.lora, seed=job.seed, steps=job.steps, dtype=dtype
    )
    if continues is not None:
        identity["continues"] = newest(continues)
    finished = finished_summary(job.out, identity, job.export_to)
    world.barrier()  # nobody may finish before everybody has looked
    if finished is not None:
        return finished
    run = _prepare(job, identity, dtype, world, stop)
    run.checkpoints.remove_cut_off(world)
    start = run.checkpoints.resume()
    if start == 0 and continues is not None:
        run.checkpoints.take_over(continues)
    work = flops_per_token(run.net.config, options.seq_len, frozen_base=job.lora is not None)
    speed = Speed(work, gpu_peak(world.device), world.size)
    with Metrics(
        job.out, job.label, start, job.steps, speed, options.trackers, identity, writes=world.is_first
    ) as metrics:
        _run_steps(run, start, metrics)
    export_hf(run.net, job.tokenizer, job.export_to, is_first=world.is_first, base=str(job.model.path or ""))
    summary = TrainSummary(job.steps, metrics.loss, metrics.heldout, metrics.tokens, metrics.tokens_per_second)
    if world.is_first:
        write_json(TrainingDir(job.out).summary, FinishedTraining(identity, summary))
        if options.save_every is None:
            run.checkpoints.delete_all()  # of interruptions; the export is the result
    world.barrier()
    return summary


def _prepare(job: _Job, identity: Identity, dtype: torch.dtype, world: World, stop: StopFlag) -> "_Run":
    """The model, its optimizer and its checkpoints; on a GPU, tried with batches of full size."""
    options = job.options
    net = _build(job.model, options, job.lora, job.tokenizer, job.seed, dtype, world)
    optimizer, guard = build_optimizer(net, options), Guard(world.device, options.skip_spikes)
    checkpoints = Checkpoints(
        TrainingDir(job.out).checkpoints,
        net,
        optimizer,
        {"losses": guard.losses},
        identity,
        keep_last=options.keep_last,
        keep_every=options.keep_every,
        every_s=options.save_every_s,
    )
    if world.device.type == "cuda":
        dry_run(net, optimizer, options, world)
    return _Run(net, optimizer, guard, checkpoints, job.batches, job.heldout, options, job.seed, job.steps, stop, world)


def _build(
    model: ModelOrigin,
    options: TrainSection,
    lora: LoraSection | None,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    dtype: torch.dtype,
    world: World,
) -> Any:
    """The sharded model with its loss."""
    if world.device.type == "cpu":
        keep_freed_memory()
    net = build_model(
        model,
        tokenizer=tokenizer,
        mesh=world.mesh,
        device=world.device,
        dtype=dtype,
        seed=seed,
        lora=lora,
        recompute=options.activation_checkpointing,
        compiled=options.compile,
    )
    attach_loss(net, compiled=options.compile)
    prove_isolation(net, world)
    return net


@dataclass(frozen=True)
class _Run:
    """What the steps of a run work on and with."""

    net: Any
    optimizer: torch.optim.AdamW
    guard: Guard
    checkpoints: Checkpoints
    batches: BatchSource
    heldout: Mapping[str, BatchSource]
    options: TrainSection
    seed: int
    steps: int
    stop: StopFlag
    world: World


def _run_steps(run: _Run, start: int, metrics: Metrics) -> None:
    """Steps start + 1 to the last, with what is due after each; checkpoints that were begun are finished."""
    if start == 0:
        _measure(run, 0, metrics)
    try:
        for step, rows in _upcoming(run.batches, start, run.steps, run.world):
            if step == start + 2:  # the first may have compiled, and read its data for the first time
                run.world.wait_at_most(IN_STEPS)
            _step(run, step, rows, metrics, start)
            if _due(step, run.options.log_every, run.steps):
                metrics.flush()
            if _due(step, run.options.eval_every, run.steps):
                _measure(run, step, metrics)
            if run.options.save_every is not None and _due(step, run.options.save_every, run.steps):
                metrics.flush()
                run.checkpoints.save(step, run.world)
    except TrainingError:  # raised by all processes alike
        run.checkpoints.finish(run.world)
        raise
    except torch.OutOfMemoryError as error:
        raise too_large(run.options, error) from None
    run.world.wait_at_most(PATIENCE)
    run.checkpoints.finish(run.world)


def _step(run: _Run, step: int, rows: Rows, metrics: Metrics, start: int) -> None:
    """One step; before it what all processes agree on: to stop, and to save what there is."""
    options, world, checkpoints = run.options, run.world, run.checkpoints
    batch = micro_batches(rows, options.micro_batch, world.device)
    written, due = checkpoints.is_written(), checkpoints.is_due
    totals = agree(world, rows, batch, stop=run.stop.asked, save=due, written=written)
    if totals.written:
        checkpoints.mark_whole(world)
    if totals.stop:
        _stop(step - 1, metrics, run)
    if totals.save and step - 1 > start:
        metrics.flush()
        checkpoints.save(step - 1, world)
    torch.manual_seed(run.seed * 1_000_003 + step * 4_099 + world.rank)  # dropout: a function of the step
    lr = learning_rate(step, run.steps, options)
    values = train_step(
        run.net, run.optimizer, run.guard, batch, totals, step=step, lr=lr, clip=options.clip, world=world
    )
    if step == 1 and float(values[1]) == 0:
        raise TrainingError(
            f"the first step has no gradient (its loss is {float(values[0]):.3f}): nothing that is trained has a part "
            "in the result"
        )
    metrics.add(step, lr, totals, run.batches.coverage(step), run.batches.coverage_by_source(step), values)


def _measure(run: _Run, step: int, metrics: Metrics) -> None:
    metrics.add_heldout(step, measure(run.net, run.heldout, run.options.micro_batch, run.world))


def _upcoming(batches: BatchSource, start: int, steps: int, world: World) -> Iterator[tuple[int, Rows]]:
    """(step, its rows) for step = start + 1 … steps; the next rows are fetched while the present ones are used."""
    with ThreadPoolExecutor(1, thread_name_prefix="rows") as pool:
        fetched = [pool.submit(batches.rows, start, world.rank, world.size)] if start < steps else []
        for step in range(start + 1, steps + 1):
            rows = fetched.pop().result()
            if step < steps:
                fetched.append(pool.submit(batches.rows, step, world.rank, world.size))
            yield step, rows


def _due(step: int, every: int | None, steps: int) -> bool:
    return step == steps or (every is not None and step % every == 0)


def _stop(step: int, metrics: Metrics, run: _Run) -> None:
    metrics.flush()
    run.checkpoints.finish(run.world)
    if step > 0:
        run.checkpoints.save(step, run.world)
        run.checkpoints.finish(run.world)
    raise Stopped(f"stopped after step {step}; resume with the same command", run.stop.status)
