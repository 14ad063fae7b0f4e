"""The processes of a run: one without ceremony, many under torchrun; same code either way."""

import atexit
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from pmc_llama.errors import RecipeError

T = TypeVar("T")
PARENT_LOOKED_AT_S = 0.5


@dataclass(frozen=True)
class World:
    """This process among all of the run."""

    rank: int
    size: int
    device: torch.device
    mesh: DeviceMesh
    control: dist.ProcessGroup
    """Gloo group for small agreements between the main threads: never waits for the GPU."""
    saving: dist.ProcessGroup
    """Gloo group of the checkpoint's background thread, so that its collectives cannot mix with the others."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes what only one may write."""
        return self.rank == 0

    def gather(self, values: list[int]) -> list[list[int]]:
        """Every process's `values` (as many on each), the same list on all."""
        if self.size == 1:
            return [values]
        mine = torch.tensor(values, dtype=torch.int64)
        everyones = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(everyones, mine, group=self.control)
        return [theirs.tolist() for theirs in everyones]

    def from_first(self, value: Callable[[], T]) -> T:
        """What `value` gives in the first process, on all of them; the others do not call it."""
        found: list[Any] = [value() if self.is_first else None]
        if self.size > 1:
            dist.broadcast_object_list(found, src=0, group=self.control)
        return cast(T, found[0])

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """Sum of `value` over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier(self.control)


@contextmanager
def join_world(shard_processes: int | None = None) -> Iterator[World]:
    """Join the processes started by torchrun, or make a world of one.

    A model is sharded over `shard_processes` of them, and copied as often as there are such groups (None: one group).

    A world of one needs no port, so any number of runs may go on beside each other, and it is left again at the end.
    torchrun's world is joined once and kept until the process ends, as it cannot be joined a second time.
    """
    alone = False
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
            _choose_gpu()
            if "TORCHELASTIC_RUN_ID" in os.environ:
                threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
            dist.init_process_group(backend)
            atexit.register(dist.destroy_process_group)
        else:
            alone = True
            dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    try:
        yield _describe_world(shard_processes)
    finally:
        if alone:
            dist.destroy_process_group()


def _end_with(parent: int) -> None:
    """End when torchrun, which started this process, was killed: an orphan would go on writing what others write."""
    while os.getppid() == parent:
        time.sleep(PARENT_LOOKED_AT_S)
    os._exit(1)


def _choose_gpu() -> None:
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))


def _describe_world(shard_processes: int | None) -> World:
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(kind, torch.cuda.current_device()) if kind == "cuda" else torch.device(kind)
    size = dist.get_world_size()
    return World(
        rank=dist.get_rank(),
        size=size,
        device=device,
        mesh=_mesh(kind, size, shard_processes or size),
        control=dist.new_group(backend="gloo"),
        saving=dist.new_group(backend="gloo"),
    )


def _mesh(kind: str, size: int, sharded: int) -> DeviceMesh:
    if size % sharded:
        raise RecipeError(f"shard_processes: {size} processes cannot be divided into groups of {sharded}")
    if sharded == size:
        return init_device_mesh(kind, (size,))
    return init_device_mesh(kind, (size // sharded, sharded), mesh_dim_names=("replicate", "shard"))
