"""Checkpoints: sharded, written in the background, whole only with a marker, for any number of processes."""

import math
import shutil
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load as load_shards
from torch.distributed.checkpoint.state_dict_saver import async_save

from pmc_llama.errors import CheckpointError
from pmc_llama.files import read_json, sha256_file, write_json
from pmc_llama.train.identity import Identity
from pmc_llama.train.world import World

MARKER = "COMPLETE"


class Checkpoints:
    """The checkpoints of one run, `step-00001000` and so on below `root`.

    `identity` says what the run is (data, model, settings that matter); a checkpoint of another one is refused.
    """

    def __init__(
        self,
        root: Path,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        extra: dict[str, Tensor],
        identity: Identity,
        *,
        keep_last: int,
        keep_every: int | None = None,
        every_s: float | None = None,
    ) -> None:
        """`extra` are tensors that a run remembers besides; `resume` fills them in place."""
        self.root, self.model, self.optimizer, self.extra, self.identity = root, model, optimizer, extra, identity
        self.keep_last, self.keep_every = keep_last, keep_every
        frozen = any(not parameter.requires_grad for parameter in model.parameters())
        self._options = StateDictOptions(ignore_frozen_params=frozen, strict=not frozen)
        self._pending: tuple[Path, Future[Any]] | None = None
        self._every_s, self._saved_s = math.inf if every_s is None else every_s, time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether `every_s` have passed since the last checkpoint was begun."""
        return time.monotonic() - self._saved_s > self._every_s

    def save(self, step: int, world: World) -> None:
        """Begin to write the checkpoint of `step`, if it is not there. Weights may change as soon as this returns."""
        self.finish(world)
        self._saved_s = time.monotonic()
        path = folder_of(self.root, step)
        if (path / MARKER).exists():
            return
        world.barrier()
        if world.is_first:
            shutil.rmtree(path, ignore_errors=True)  # what an interrupted run may have left
            path.mkdir(parents=True)
        world.barrier()
        future = async_save(self._state(), checkpoint_id=path, process_group=world.saving)
        self._pending = (path, cast(Future[Any], future))

    def is_written(self) -> bool:
        """Whether this process has nothing left to write."""
        return self._pending is None or self._pending[1].done()

    def mark_whole(self, world: World) -> None:
        """Declare the pending checkpoint whole, once `is_written` on every process, and delete old ones."""
        if self._pending is None:
            return
        path, future = self._pending
        future.result()
        self._pending = None
        if world.is_first:
            write_json(path / MARKER, self.identity)
            for old in whole_checkpoints(self.root)[: -self.keep_last]:
                if self.keep_every is None or step_of(old) % self.keep_every:
                    (old / MARKER).unlink()
                    shutil.rmtree(old)

    def finish(self, world: World) -> None:
        """Wait until the pending checkpoint is whole."""
        if self._pending is not None:
            self._pending[1].result()
            world.barrier()
            self.mark_whole(world)
            world.barrier()

    def delete_all(self) -> None:
        """Delete every checkpoint of the run."""
        for path in whole_checkpoints(self.root):
            (path / MARKER).unlink()
        shutil.rmtree(self.root, ignore_errors=True)

    def remove_cut_off(self, world: World) -> None:
        """Delete what was left of checkpoints that an interrupted run had not written to their end."""
        if world.is_first:
            for path in self.root.glob("step-*"):
                if not (path / MARKER).exists():
                    shutil.rmtree(path)
        world.barrier()

    def resume(self) -> int:
        """Load the newest whole checkpoint; its step, or 0 where there is none.

        Raises CheckpointError if it belongs to another run or is damaged.
        """
        found = whole_checkpoints(self.root)
        if not found:
            return 0
        path = found[-1]
        _refuse_other_run(path, self.identity)
        state = self._load(path, self._state())
        for name, value in state["extra"].items():
            self.extra[name].copy_(value)
        return step_of(path)

    def take_over(self, root: Path) -> None:
        """Go on from the newest whole checkpoint below `root`, of an earlier run, where there is one: with its weights
        and its optimizer's moments, but on other data and with this run's settings.
        """
        for path in whole_checkpoints(root)[-1:]:
            ours = [{key: group[key] for key in group.keys() - {"params"}} for group in self.optimizer.param_groups]
            state = self._state()
            del state["extra"]
            self._load(path, state)
            for group, settings in zip(self.optimizer.param_groups, ours, strict=True):
                group.update(settings)

    def _load(self, path: Path, state: dict[str, Any]) -> dict[str, Any]:
        try:
            load_shards(state, checkpoint_id=path)
        except CheckpointException as error:
            raise CheckpointError(
                f"checkpoint {path} cannot be read: {error}; delete it to go on from the one before"
            ) from None
        set_state_dict(
            self.model,
            self.optimizer,
            model_state_dict=state["model"],
            optim_state_dict=state["optimizer"],
            options=self._options,
        )
        return state

    def _state(self) -> dict[str, Any]:
        model, optimizer = get_state_dict(self.model, self.optimizer, options=self._options)
        return {
            "model": model,
            "optimizer": optimizer,
            "extra": {name: value.clone() for name, value in self.extra.items()},
        }


def folder_of(root: Path, step: int) -> Path:
    """The folder of the checkpoint of `step`."""
    return root / f"step-{step:08d}"


def step_of(path: Path) -> int:
    """The step of a checkpoint's folder."""
    return int(path.name.removeprefix("step-"))


def whole_checkpoints(root: Path) -> list[Path]:
    """Checkpoints that were written to their end, oldest first."""
    return sorted(marker.parent for marker in root.glob(f"step-*/{MARKER}"))


def newest(root: Path) -> str | None:
    """What tells the newest whole checkpoint below `root` from others."""
    return next((f"{path.name} {sha256_file(path / MARKER)}" for path in whole_checkpoints(root)[-1:]), None)


def _refuse_other_run(path: Path, identity: Identity) -> None:
    theirs = read_json(path / MARKER)
    differing = sorted(key for key in theirs.keys() | identity.keys() if theirs.get(key) != identity.get(key))
    if differing:
        key = differing[0]
        raise CheckpointError(
            f"checkpoint {path} is of another run: {key} was {theirs.get(key)!r} and is now {identity.get(key)!r}; "
            f"restore the setting to go on, or delete {path.parent} to start over"
        )
