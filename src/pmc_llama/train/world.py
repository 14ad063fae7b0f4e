"""The processes of a run: one without ceremony, many under torchrun; same code either way."""

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.distributed_c10d import _set_pg_timeout

from pmc_llama.errors import PmcLlamaError, RecipeError, Stopped, TrainingError

T = TypeVar("T")
PARENT_LOOKED_AT_S = 0.5
ENDED_WITHIN_S = 30.0
"""How long a process that failed may take to end by itself."""
PATIENCE = timedelta(minutes=30)
"""How long an exchange between processes may take, where the first of them may be reading, loading or compiling."""
IN_STEPS = timedelta(minutes=10)
"""The same between the steps of training, where all do the same."""


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

    def wait_at_most(self, limit: timedelta) -> None:
        """From now on an exchange that takes longer has failed, but for those of checkpoints. The same on all."""
        if self.size > 1:
            for group in {dist.group.WORLD, self.control, *self.mesh.get_all_groups()}:
                _set_pg_timeout(limit, group)


_joined: dict[int, World] = {}
"""Worlds of the processes that torchrun started, by the processes of a group: each has groups, sockets and threads."""
_failure: list[int] = []
"""Exit status of a process that has left the others in the middle of what they do together."""


@contextmanager
def join_world(shard_processes: int | None = None) -> Iterator[World]:
    """Join the processes started by torchrun, or make a world of one.

    A model is sharded over `shard_processes` of them, and copied as often as there are such groups (None: one group).

    A world of one needs no port, so any number of runs may go on beside each other, and it is left again at the end.
    torchrun's world is joined once and kept until the process ends, as it cannot be joined a second time. A process of
    it that leaves the block by an error, and joins no world again, ends within `ENDED_WITHIN_S`, without waiting for
    the others: they may wait for it.
    """
    alone = False
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
            _choose_gpu()
            if "TORCHELASTIC_RUN_ID" in os.environ:
                threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
            dist.init_process_group(backend, timeout=PATIENCE)
            atexit.register(_leave)
        else:
            alone = True
            dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    try:
        if alone or dist.get_world_size() == 1:
            yield _world(shard_processes, alone=alone)
        else:
            with _failing_at_once():
                yield _world(shard_processes, alone=False)
    finally:
        if alone:
            _joined.clear()  # of blocks within this one
            dist.destroy_process_group()


@contextmanager
def _failing_at_once() -> Iterator[None]:
    _failure.clear()
    try:
        yield
    except Stopped:  # by all, between two steps
        raise
    except BaseException as error:
        lost = _is_lost_connection(error)
        _failure.append(2 if lost or isinstance(error, PmcLlamaError) else 1)  # as the command line has it
        threading.Thread(target=_end_by_force, args=(time.monotonic(),), daemon=True).start()
        if not lost:
            raise
        said = "another process of the run has ended, so this one ends too; what it said tells why"
        raise TrainingError(said) from error


def _is_lost_connection(error: BaseException) -> bool:
    """Whether `error` is that another process no longer answers: gloo has no class for it."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def _end_by_force(failed_s: float) -> None:
    """For what a process that failed may wait for on its way out: threads that wait for other processes."""
    while time.monotonic() < failed_s + ENDED_WITHIN_S:
        time.sleep(PARENT_LOOKED_AT_S)
        if not _failure:  # whoever called has dealt with it
            return
    os._exit(_failure[0])


def _leave() -> None:
    """At the end of the process: with the others, or alone after a failure, as leaving together would never end."""
    if not _failure:
        dist.destroy_process_group()
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_failure[0])


def _end_with(parent: int) -> None:
    """End when torchrun, which started this process, was killed: an orphan would go on writing what others write."""
    while os.getppid() == parent:
        time.sleep(PARENT_LOOKED_AT_S)
    os._exit(1)


def _choose_gpu() -> None:
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))


def _world(shard_processes: int | None, *, alone: bool) -> World:
    """A world with groups of its own where it is left again, else the one that was made before."""
    sharded = shard_processes or dist.get_world_size()
    if alone:
        return _describe_world(sharded, None)
    if sharded not in _joined:
        _joined[sharded] = _describe_world(sharded, next(iter(_joined.values()), None))
    return _joined[sharded]


def _describe_world(sharded: int, like: World | None) -> World:
    """Groups are those of `like`, but for the mesh."""
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(kind, torch.cuda.current_device()) if kind == "cuda" else torch.device(kind)
    size = dist.get_world_size()
    return World(
        rank=dist.get_rank(),
        size=size,
        device=device,
        mesh=_mesh(kind, size, sharded),
        control=dist.new_group(backend="gloo", timeout=PATIENCE) if like is None else like.control,
        saving=dist.new_group(backend="gloo", timeout=PATIENCE) if like is None else like.saving,
    )


def _mesh(kind: str, size: int, sharded: int) -> DeviceMesh:
    if size % sharded:
        raise RecipeError(f"shard_processes: {size} processes cannot be divided into groups of {sharded}")
    if sharded == size:
        return init_device_mesh(kind, (size,))
    return init_device_mesh(kind, (size // sharded, sharded), mesh_dim_names=("replicate", "shard"))
