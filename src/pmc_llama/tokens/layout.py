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
    def of(cls, store: TokenStore, split: Split, within: range | None = None) -> "Documents":
        """Take the split's documents from a store, or those of them whose numbers lie in a range."""
        numbers = store.documents(split)
        if within is not None:
            numbers = numbers[(numbers >= within.start) & (numbers < within.stop)]
        lengths = store.lengths[numbers]
        full = lengths > 0
        return cls(numbers[full], lengths[full])


class Spans:
    """Spans that follow each other from 0 on: which one holds a place?

    Binary search in millions of ends waits for memory at every halving; here one in the ends of blocks finds a block,
    whose members lie side by side.
    """

    BLOCK = 32

    def __init__(self, ends: NDArray[np.int64]) -> None:
        room = -len(ends) % self.BLOCK
        blocks = np.pad(ends, (0, room), constant_values=np.iinfo(np.int64).max)
        self.ends = blocks[: len(ends)]  # [N]
        self._blocks = blocks.reshape(-1, self.BLOCK)
        self._block_ends = self._blocks[:, -1].copy()

    def find(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of the span of each place, as `np.searchsorted(ends, places, side="right")`."""
        block = np.searchsorted(self._block_ends, places, side="right")
        before = np.count_nonzero(self._blocks[block] <= places[:, None], axis=1)
        return np.asarray(block * self.BLOCK + before)


def fill(
    store: TokenStore, pieces: Pieces, shape: tuple[int, int], bos_id: int | None, eos_id: int | None, pad_id: int
) -> Rows:
    """Read the tokens of all pieces into rows of `shape` [B, T]; what is left of a row is an unlabelled document."""
    rows, columns = shape
    ids = np.empty(shape, np.int64)  # [B, T]
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
    short = [(row, int(filled[row])) for row in np.flatnonzero(filled < columns).tolist()]
    for row, width in short:
        ids[row, width:] = pad_id
    labels = ids.copy()  # [B, T]
    labels.reshape(-1)[first] = IGNORE
    count = np.arange(columns)
    position_ids = np.tile(count, (rows, 1))  # [B, T]
    inner = pieces.column > 0
    for row, column, length in zip(
        *(a[inner].tolist() for a in (pieces.row, pieces.column, pieces.length)), strict=True
    ):
        position_ids[row, column : column + length] = count[:length]
    for row, width in short:
        labels[row, width:] = IGNORE
        position_ids[row, width:] = count[: columns - width]
    return Rows(ids, position_ids, labels)
