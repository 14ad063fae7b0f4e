"""The one training loop: pre-training, full tuning and LoRA differ in data, trained weights and labels only."""

import types
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import register_fsdp_forward_method
from transformers import PreTrainedTokenizerBase

from pmc_llama.errors import Stopped, TrainingError
from pmc_llama.files import write_json
from pmc_llama.model.hardware import flops_per_token, gpu_peak
from pmc_llama.model.load import ModelOrigin, build_model
from pmc_llama.model.precision import training_dtype
from pmc_llama.model.save import export_hf
from pmc_llama.recipe.training import LoraSection, TrainSection
from pmc_llama.records.training import FinishedTraining, TrainSummary
from pmc_llama.run_dir import TrainingDir
from pmc_llama.train.agreement import Totals, agree
from pmc_llama.train.batches import BatchSource, Rows
from pmc_llama.train.checkpoint import Checkpoints, newest
from pmc_llama.train.heldout import measure
from pmc_llama.train.identity import finished_summary, identity_of
from pmc_llama.train.isolation import prove_isolation
from pmc_llama.train.loss import loss_sum
from pmc_llama.train.memory import dry_run, keep_freed_memory
from pmc_llama.train.metrics import Metrics, Speed
from pmc_llama.train.microbatch import MicroBatch, empty_micro_batch, micro_batches
from pmc_llama.train.optim import Guard, build_optimizer, clip_gradients, guarded_update, learning_rate
from pmc_llama.train.signals import StopFlag
from pmc_llama.train.world import World, join_world


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
    with join_world(options.shard_processes) as world, StopFlag(options.time_limit_s) as stop:
        dtype = training_dtype(options.precision, world.device)
        steps = min(batches.steps, options.max_steps or batches.steps)
        identity = identity_of(model, batches.fingerprint, options, lora, seed=seed, steps=steps, dtype=dtype)
        if continues is not None:
            identity["continues"] = newest(continues)
        finished = finished_summary(out, identity, export_to)
        world.barrier()  # nobody may finish before everybody has looked
        if finished is not None:
            return finished
        net = _build(model, options, lora, tokenizer, seed, dtype, world)
        optimizer, guard = build_optimizer(net, options), Guard(world.device, options.skip_spikes)
        checkpoints = Checkpoints(
            TrainingDir(out).checkpoints,
            net,
            optimizer,
            {"losses": guard.losses},
            identity,
            keep_last=options.keep_last,
            keep_every=options.keep_every,
            every_s=options.save_every_s,
        )
        run = _Run(net, optimizer, guard, checkpoints, batches, heldout, options, seed, steps, stop, world)
        if world.device.type == "cuda":
            dry_run(net, optimizer, options, world)
        checkpoints.remove_cut_off(world)
        start = checkpoints.resume()
        if start == 0 and continues is not None:
            checkpoints.take_over(continues)
        work = flops_per_token(net.config, options.seq_len, frozen_base=lora is not None)
        speed = Speed(work, gpu_peak(world.device), world.size)
        with Metrics(out, label, start, steps, speed, options.trackers, identity, writes=world.is_first) as metrics:
            _run_steps(run, start, metrics)
        export_hf(net, tokenizer, export_to, is_first=world.is_first, base=str(model.path or ""))
        summary = TrainSummary(steps, metrics.loss, metrics.heldout, metrics.tokens, metrics.tokens_per_second)
        if world.is_first:
            write_json(TrainingDir(out).summary, FinishedTraining(identity, summary))
            if options.save_every is None:
                checkpoints.delete_all()  # of interruptions; the export is the result
        world.barrier()
        return summary


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


def attach_loss(net: Any, *, compiled: bool = False) -> None:
    """Give the sharded model the method `loss_sum`, before which its root's weights are gathered as before forward."""

    def bound(self: Any, batch: MicroBatch) -> Tensor:
        return loss_sum(self, batch, compiled=compiled)

    net.loss_sum = types.MethodType(bound, net)
    register_fsdp_forward_method(net, "loss_sum")


def train_step(
    net: Any,
    optimizer: torch.optim.AdamW,
    guard: Guard,
    batch: list[MicroBatch],
    totals: Totals,
    *,
    step: int,
    lr: float,
    clip: float,
    world: World,
) -> Tensor:
    """One update. Returns [3] on the device (nothing waits for it): loss, gradient norm, whether it was left out."""
    loss = forward_backward(net, batch, totals, world)
    norm = clip_gradients(net, clip)
    bad = guard.judge(step, loss, norm)
    guarded_update(optimizer, lr, bad)
    return torch.stack([loss, norm, bad])


def forward_backward(net: Any, batch: list[MicroBatch], totals: Totals, world: World) -> Tensor:
    """Gradients of the mean loss per token of the whole global batch; that loss, the same on every process.

    Sums are divided by the global count, so that neither the division into processes and micro-batches nor ragged
    labels matter; the factor of `world.size` undoes the averaging of the sharded reduction.
    """
    total = torch.zeros((), device=world.device)
    for number in range(totals.micro_batches):
        part = batch[number] if number < len(batch) else empty_micro_batch(world.device)
        last = number == totals.micro_batches - 1
        net.set_requires_all_reduce(last)  # between replicas, once
        if world.size == 1:  # nothing is shared: weights are gathered and gradients reduced once, too
            net.set_requires_gradient_sync(last)
            net.set_reshard_after_backward(last)
        loss = net.loss_sum(part)
        (loss * (world.size / totals.loss_tokens)).backward()
        total += loss.detach()
    return world.sum(total) / totals.loss_tokens


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
