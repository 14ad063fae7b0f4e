"""What the processes of a distributed test do, and a way to start them with one import of torch for all.

`python worker.py OUT 2:part,stops 3:rest` runs the jobs `part` and `stops` in 2 processes, then `rest` in 3, which find
each other as under torchrun; under torchrun, `worker.py OUT long` runs the job itself.
"""

import json
import os
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor

from pmc_llama.errors import Stopped
from pmc_llama.model.load import ModelOrigin, build_model
from pmc_llama.recipe.training import LoraSection
from pmc_llama.train.agreement import agree
from pmc_llama.train.batches import Rows
from pmc_llama.train.microbatch import micro_batches
from pmc_llama.train.step import attach_loss, forward_backward
from pmc_llama.train.world import join_world
from train.tiny import CONFIG, Source, is_first, run, tokenizer

STOPS = [3, 4, 8, 11]
STEPS, LONG = 14, 60


class Signalled(Source):
    """Sends this process SIGTERM while the rows of step `at` are fetched, on the last process only."""

    at = -1

    def __repr__(self) -> str:
        return repr(Source(self.steps))

    def rows(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        if step == self.at and rank == world - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().rows(step, rank, world)


def gradients(out: Path, micro_batch: int = 1, shard: int | None = None) -> None:
    """Gradients of one global batch with ragged labels."""
    with join_world(shard) as world:
        net = build_model(
            ModelOrigin(config=CONFIG),
            tokenizer=tokenizer(),
            mesh=world.mesh,
            device=world.device,
            dtype=torch.float32,
            seed=0,
        )
        attach_loss(net)
        rows = Source().rows(1, world.rank, world.size)
        batch = micro_batches(rows, micro_batch, world.device)
        totals = agree(world, rows, batch, stop=False, save=False, written=True)
        loss = forward_backward(net, batch, totals, world)
        found = {name: whole(value.grad) for name, value in net.named_parameters()} | {"loss": loss}
        if world.is_first:
            save_file(found, out / f"gradients-{world.size}-{micro_batch}-{shard or world.size}.safetensors")


def replicas(out: Path) -> None:
    """The same of a model that is sharded over pairs of processes, with a replica in each pair."""
    gradients(out, shard=2)


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


def part(out: Path) -> None:
    """A part of a run that other numbers of processes go on with: up to a signal."""
    source = Signalled(STEPS)
    source.at = 5 if os.environ["WORLD_SIZE"] == "2" else 9
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


def again(out: Path) -> None:
    """Several runs in the same processes: what each leaves open is written down."""
    counts = []
    for number in range(6):
        shards = 1 if number % 2 else None
        run(out / f"again-{number}", Source(1), shard_processes=shards)
        counts.append([len(list(Path("/proc/self", kind).iterdir())) for kind in ("fd", "task")])
    if is_first():
        (out / "again.json").write_text(json.dumps(counts))


class Slow(Source):
    """A source whose steps take long enough to be signalled in."""

    def rows(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        time.sleep(0.1)
        return super().rows(step, rank, world)

    def __repr__(self) -> str:
        return repr(Source(self.steps))


def long(out: Path) -> None:
    """A run to be stopped from outside."""
    try:
        run(out / "long", Slow(LONG), log_every=1)
    except Stopped as reason:
        (out / f"stopped-{os.environ['RANK']}").write_text(str(reason))


JOBS = {job.__name__: job for job in (gradients, replicas, stops, part, rest, lora, few_rows, again, long)}


def place_of_meeting() -> dict[str, str]:
    """Where processes find each other, as torchrun tells them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}


def fork(out: Path, processes: int, jobs: list[str]) -> None:
    """Run `jobs` in `processes` children of this process."""
    place = place_of_meeting()
    children = []
    for rank in range(processes):
        child = os.fork()
        if child:
            children.append(child)
            continue
        os.environ.update(place, RANK=str(rank), WORLD_SIZE=str(processes))
        code = 1
        try:
            for job in jobs:
                JOBS[job](out)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert not any(codes), codes


if __name__ == "__main__":
    torch.set_num_threads(1)
    for argument in sys.argv[2:]:
        number, _, names = argument.rpartition(":")
        if number:
            fork(Path(sys.argv[1]), int(number), names.split(","))
        else:
            JOBS[names](Path(sys.argv[1]))
