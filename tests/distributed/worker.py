"""What the processes of a distributed test do; started by torchrun, writes its results for the test to read."""

import os
import signal
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor

from pmc_llama.errors import Stopped
from pmc_llama.model.load import ModelOrigin, build_model
from pmc_llama.recipe.training import LoraSection
from pmc_llama.train.agreement import agree
from pmc_llama.train.batches import Rows
from pmc_llama.train.loop import attach_loss, forward_backward
from pmc_llama.train.microbatch import micro_batches
from pmc_llama.train.world import join_world
from train.tiny import CONFIG, Source, is_first, options, run, tokenizer

STOPS = [3, 4, 8, 11]
STEPS = 14


class Signalled(Source):
    """Sends this process SIGTERM while the rows of step `at` are fetched, on the last process only."""

    at = -1

    def __repr__(self) -> str:
        return repr(Source(self.steps))

    def rows(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        if step == self.at and rank == world - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().rows(step, rank, world)


def gradients(out: Path, micro_batch: int = 1, global_batch: int = 8) -> None:
    """Gradients of one global batch with ragged labels."""
    with join_world() as world:
        net = build_model(
            ModelOrigin(config=CONFIG),
            tokenizer=tokenizer(),
            mesh=world.mesh,
            device=world.device,
            dtype=torch.float32,
            seed=0,
        )
        attach_loss(net)
        rows = Source(global_batch=global_batch).rows(1, world.rank, world.size)
        batch = micro_batches(rows, micro_batch, world.device)
        totals = agree(world, rows, batch, stop=False, written=True)
        loss = forward_backward(net, batch, totals, world)
        found = {name: whole(value.grad) for name, value in net.named_parameters()} | {"loss": loss}
        if world.is_first:
            save_file(found, out / f"gradients-{world.size}-{micro_batch}-{global_batch}.safetensors")


def whole(value: torch.Tensor | None) -> torch.Tensor:
    assert value is not None
    return (value.full_tensor() if isinstance(value, DTensor) else value).contiguous()


def stops(out: Path) -> None:
    """One run, stopped at several steps by a signal to one process, continued each time."""
    stopped = []
    for at in [*STOPS, -1]:
        source = Signalled(STEPS)
        source.at = at
        try:
            run(out / "stops", source)
        except Stopped as reason:
            stopped.append(str(reason))
    if is_first():
        (out / "stopped.txt").write_text("\n".join(stopped))


def part(out: Path, at: int = 5) -> None:
    """A part of a run that other numbers of processes go on with: up to a signal."""
    source = Signalled(STEPS)
    source.at = at
    try:
        run(out / "widths", source)
    except Stopped:
        return
    raise AssertionError("the signal was not seen")


def rest(out: Path) -> None:
    """Another part of that run, to its end."""
    run(out / "widths", Source(STEPS))


def lora(out: Path) -> None:
    """LoRA on the exported base."""
    section = LoraSection(r=4, dropout=0.0, targets=["q_proj", "v_proj", "down_proj"])
    size = os.environ.get("WORLD_SIZE", "1")
    run(out / f"lora-{size}", Source(6), ModelOrigin(path=out / "base" / "model"), lora=section)


def few_rows(out: Path) -> None:
    """A global batch with fewer rows than processes."""
    size = os.environ.get("WORLD_SIZE", "1")
    run(
        out / f"few-{size}",
        Source(3, global_batch=3, rows_per_epoch=9),
        heldout={"x": Source(2, seed=4, global_batch=3)},
    )


if __name__ == "__main__":
    assert options().precision == "fp32"
    for job in sys.argv[2:]:
        {job.__name__: job for job in (gradients, stops, part, rest, lora, few_rows)}[job](Path(sys.argv[1]))
