"""Memory: how much was needed, and a first batch of full size, so that too little of it shows in the first minute."""

import ctypes
import gc
import resource
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pmc_llama.errors import TrainingError
from pmc_llama.model.folders import first_line
from pmc_llama.recipe.training import TrainSection
from pmc_llama.train.agreement import Totals
from pmc_llama.train.batches import Rows
from pmc_llama.train.microbatch import micro_batches
from pmc_llama.train.optim import clip_gradients, guarded_update
from pmc_llama.train.step import forward_backward
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
    """A step of the largest micro-batches there can be, with an update that leaves weights and moments as they are.

    The optimizer's moments are made first, and where a step has several micro-batches, two are run, so that the second
    stands beside the first one's gradients: a real step needs no more. Raises TrainingError with advice if the device
    has too little memory for it.
    """
    number = 2 if options.global_batch > options.micro_batch * world.size else 1
    shape = (options.micro_batch * number, options.seq_len)
    positions = np.tile(np.arange(options.seq_len), (shape[0], 1))
    rows = Rows(np.zeros(shape, np.int64), positions, np.zeros(shape, np.int64))
    try:
        _make_state(optimizer, world)
        batch = micro_batches(rows, options.micro_batch, world.device)
        tokens = shape[0] * shape[1] * world.size
        totals = Totals(tokens, tokens, number, stop=False, save=False, written=True)
        forward_backward(net, batch, totals, world)
        clip_gradients(net, options.clip)
        _update_nothing(optimizer, world)
    except torch.OutOfMemoryError as error:
        raise too_large(options, error) from None


def _make_state(optimizer: torch.optim.AdamW, world: World) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    _update_nothing(optimizer, world)


def _update_nothing(optimizer: torch.optim.AdamW, world: World) -> None:
    guarded_update(optimizer, 0.0, torch.ones((), dtype=torch.bool, device=world.device))


def too_large(options: TrainSection, error: Exception) -> TrainingError:
    """What to say where the device's memory is not enough."""
    return TrainingError(
        f"{options.micro_batch} rows of {options.seq_len} tokens do not fit this device: {first_line(error)}. In this "
        "order: lower micro_batch (the result stays the same), set activation_checkpointing to selective or full, use "
        "more processes, or tune with LoRA; `pmc-llama plan` says what fits"
    )


def free_models() -> None:
    """Free models that nothing refers to but themselves: sharded ones are full of cycles, and the next needs room."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
