"""What all processes must know alike before a step: one small exchange that never waits for the GPU."""

from dataclasses import dataclass

from pmc_llama.errors import TrainingError
from pmc_llama.train.batches import Rows
from pmc_llama.train.microbatch import MicroBatch
from pmc_llama.train.world import World


@dataclass(frozen=True)
class Totals:
    """Of one global batch, over all processes."""

    loss_tokens: int
    """Tokens that are predicted and count."""
    positions: int
    """Tokens read, those that do not count included."""
    micro_batches: int
    """Forward passes of the process that has most."""
    stop: bool
    """Whether any process was asked to stop."""
    save: bool
    """Whether by any process's clock it is time for a checkpoint."""
    written: bool
    """Whether every process has written its part of the pending checkpoint."""


def agree(world: World, rows: Rows, batch: list[MicroBatch], *, stop: bool, save: bool, written: bool) -> Totals:
    """Exchange this process's part of the step. Raises TrainingError if nothing in the global batch counts."""
    loss_tokens = sum(len(part.targets) for part in batch)
    everyones = world.gather([loss_tokens, rows.ids.size, len(batch), stop, save, written])
    columns = list(zip(*everyones, strict=True))
    if sum(columns[0]) == 0:
        raise TrainingError("a global batch has no token that counts for the loss: all its labels are masked")
    return Totals(
        loss_tokens=sum(columns[0]),
        positions=sum(columns[1]),
        micro_batches=max(columns[2]),
        stop=any(columns[3]),
        save=any(columns[4]),
        written=all(columns[5]),
    )
