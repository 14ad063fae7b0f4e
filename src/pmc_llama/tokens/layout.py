"""What an order of the tokens must say: which piece of which document stands where in a row."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pmc_llama.tokens.store import Split, TokenStore
from pmc_llama.train.batches import IGNORE, Rows


@dataclass(frozen=True)
class Pieces:
    """Pieces of documents in rows; all arrays are int64 [P].

    A document's sequence is BOS at position -1, its n tokens at 0 … n - 1, EOS at n.
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    document: NDArray[np.int64]
    start: NDArray[np.int64]
    length: NDArray[np.int64]


class Layout(Protocol):
    """How an epoch is divided into rows."""

    rows_per_epoch: int
    total_tokens: int

    def pieces(self, epoch: int, rows: NDArray[np.int64]) -> Pieces:
        """What stands in these rows of an epoch; `Pieces.row` counts from 0 in the order of `rows`."""
        ...

    def seen(self, rows: int) -> int:
        """Distinct tokens in the first `rows` rows of the run, over all epochs."""
        ...


@dataclass(frozen=True)
class Documents:
    """The documents of a split that have tokens, and their lengths; int64 [N]."""

    numbers: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, store: TokenStore, split: Split) -> "Documents":
        """Take the split's documents from a store."""
        numbers = store.documents(split)
        lengths = store.lengths[numbers]
        full = lengths > 0
        return cls(numbers[full], lengths[full])


def fill(
    store: TokenStore, pieces: Pieces, shape: tuple[int, int], bos_id: int | None, eos_id: int | None, pad_id: int
) -> Rows:
    """Read the tokens of all pieces into rows of `shape` [B, T]; what is left of a row is an unlabelled document."""
    rows, columns = shape
    ids = np.full(shape, pad_id, np.int64)  # [B, T]
    first = pieces.row * columns + pieces.column  # [P] place in the flat block
    end = pieces.start + pieces.length
    sizes = store.lengths[pieces.document]
    low, high = np.maximum(pieces.start, 0), np.minimum(end, sizes)
    flat = ids.reshape(-1)
    store.read_into(flat, first + low - pieces.start, pieces.document, low, high)
    if bos_id is not None:
        flat[first[pieces.start < 0]] = bos_id
    if eos_id is not None:
        flat[(first + pieces.length - 1)[end > sizes]] = eos_id
    filled = np.bincount(pieces.row, pieces.length, rows).astype(np.int64)  # [B]
    labels = ids.copy()  # [B, T]
    labels.reshape(-1)[first] = IGNORE
    short = np.flatnonzero(filled < columns)
    for row, width in zip(short.tolist(), filled[short].tolist(), strict=True):
        labels[row, width:] = IGNORE
    starts = np.sort(np.concatenate([first, short * columns + filled[short]]))  # of documents and of padding
    lengths = np.diff(starts, append=rows * columns)
    position_ids = np.arange(rows * columns) - np.repeat(starts, lengths)
    return Rows(ids, position_ids.reshape(shape), labels)
