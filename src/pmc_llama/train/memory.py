"""Memory: how much was needed, and a first batch of full size, so that too little of it shows in the first minute."""

import ctypes
import resource
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pmc_llama.errors import TrainingError
from pmc_llama.recipe.training import TrainSection
from pmc_llama.train.batches import Rows
from pmc_llama.train.microbatch import micro_batches
from pmc_llama.train.optim import guarded_update
from pmc_llama.train.world import World

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Of glibc's <malloc.h>."""


def own_peak_bytes() -> int:
    """The most memory that this process had at a time, in bytes.

    Linux' `VmHWM` where there is one: what `getrusage` tells begins with the memory of the process that started this.
    """
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def keep_freed_memory() -> None:
    """Have the C library keep large blocks that are freed, for the next step, instead of returning them to the system.

    Otherwise every activation above 32 MiB is mapped and cleared anew at each use, which takes up to a third of a step
    on CPUs. Only glibc is asked; elsewhere nothing changes.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, -1)  # never
        library.mallopt(M_TOP_PAD, 64 * 2**20)


def peak_memory() -> int:
    """Most bytes this process has held so far: of its GPU if it has one, else of main memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return own_peak_bytes()


def dry_run(net: Any, optimizer: torch.optim.AdamW, options: TrainSection, world: World) -> None:
    """One step of the largest micro-batch there can be, with an update that leaves weights and moments as they are.

    Raises TrainingError with advice if the device has too little memory for it.
    """
    shape = (options.micro_batch, options.seq_len)
    positions = np.tile(np.arange(options.seq_len), (options.micro_batch, 1))
    rows = Rows(np.zeros(shape, np.int64), positions, np.zeros(shape, np.int64))
    try:
        for batch in micro_batches(rows, options.micro_batch, world.device):
            net.loss_sum(batch).backward()
        guarded_update(optimizer, 0.0, torch.ones((), dtype=torch.bool, device=world.device))
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"{options.micro_batch} rows of {options.seq_len} tokens do not fit this device: {error}. In this order: "
            "lower micro_batch (the result stays the same), set activation_checkpointing to selective or full, use "
            "more processes, or tune with LoRA; `pmc-llama plan` says what fits"
        ) from None
