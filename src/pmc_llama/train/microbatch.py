"""Rows of a step, divided into what one forward pass takes, as tensors on the device."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pmc_llama.model.attention import Documents
from pmc_llama.train.batches import IGNORE, Rows

NO_ROWS_LENGTH = 8


@dataclass(frozen=True)
class MicroBatch:
    """Input of one forward pass."""

    ids: Tensor  # [B, T]
    position_ids: Tensor  # [B, T]
    index: Tensor  # [N] flat positions b * T + t whose next token is predicted
    targets: Tensor  # [N] those next tokens
    documents: Documents
    """Where the packed documents lie."""


def micro_batches(rows: Rows, size: int, device: torch.device) -> list[MicroBatch]:
    """`rows` in groups of `size` rows; none if there are no rows."""
    groups = [slice(start, start + size) for start in range(0, len(rows.ids), size)]
    return [_to_device(rows.ids[group], rows.position_ids[group], rows.labels[group], device) for group in groups]


def empty_micro_batch(device: torch.device) -> MicroBatch:
    """One that teaches nothing: for a process with fewer rows than others, which gathers and reduces all the same."""
    nothing = np.zeros((1, NO_ROWS_LENGTH), dtype=np.int64)
    return _to_device(nothing, nothing + np.arange(NO_ROWS_LENGTH), np.full_like(nothing, IGNORE), device)


def _to_device(
    ids: NDArray[np.int64], position_ids: NDArray[np.int64], labels: NDArray[np.int64], device: torch.device
) -> MicroBatch:
    batch, length = ids.shape
    counts = np.zeros((batch, length), dtype=bool)
    counts[:, :-1] = labels[:, 1:] != IGNORE
    index = np.flatnonzero(counts)
    targets = labels.reshape(-1)[index + 1]
    return MicroBatch(
        ids=_upload(ids, device),
        position_ids=_upload(position_ids, device),
        index=_upload(index, device),
        targets=_upload(targets, device),
        documents=Documents.of(position_ids, device),
    )


def _upload(array: NDArray[np.int64], device: torch.device) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
