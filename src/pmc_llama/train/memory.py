"""Memory: how much was needed, and a first batch of full size, so that too little of it shows in the first minute."""

import resource
from typing import Any

import numpy as np
import torch

from pmc_llama.errors import TrainingError
from pmc_llama.recipe.training import TrainSection
from pmc_llama.train.batches import Rows
from pmc_llama.train.microbatch import micro_batches
from pmc_llama.train.world import World


def peak_memory() -> int:
    """Most bytes this process has held so far: of its GPU if it has one, else of main memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


def dry_run(net: Any, options: TrainSection, world: World) -> None:
    """One forward and backward pass of the largest batch there can be, thrown away.

    Raises TrainingError with advice if the device has too little memory for it.
    """
    shape = (options.micro_batch, options.seq_len)
    positions = np.tile(np.arange(options.seq_len), (options.micro_batch, 1))
    rows = Rows(np.zeros(shape, np.int64), positions, np.zeros(shape, np.int64))
    try:
        for batch in micro_batches(rows, options.micro_batch, world.device):
            net.loss_sum(batch).backward()
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"{options.micro_batch} rows of {options.seq_len} tokens do not fit this device: {error}. In this order: "
            "lower micro_batch (the result stays the same), set activation_checkpointing to selective or full, use "
            "more processes, or tune with LoRA; `pmc-llama plan` says what fits"
        ) from None
    net.zero_grad(set_to_none=True)
