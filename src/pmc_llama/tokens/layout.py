"""What an order of the tokens must say: which piece of which document stands where in a row."""

from dataclasses import dataclass
from typing import Any, Protocol

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
    labels = np.full(shape, IGNORE, np.int64)  # [B, T]
    first = np.zeros(shape, np.int64)  # [B, T] column at which the document of a position starts
    ends = np.zeros(rows, np.int64)
    np.maximum.at(ends, pieces.row, pieces.column + pieces.length)
    for row, column, document, start, length in zip(
        *(array.tolist() for array in (pieces.row, pieces.column, pieces.document, pieces.start, pieces.length)),
        strict=True,
    ):
        _copy(store[document], ids[row, column : column + length], start, bos_id, eos_id)
        labels[row, column + 1 : column + length] = ids[row, column + 1 : column + length]
        first[row, column] = column
    padded = np.flatnonzero(ends < columns)
    first[padded, ends[padded]] = ends[padded]
    np.maximum.accumulate(first, axis=1, out=first)
    return Rows(ids, np.arange(columns) - first, labels)


def _copy(tokens: NDArray[Any], into: NDArray[np.int64], start: int, bos_id: int | None, eos_id: int | None) -> None:
    end = start + len(into)
    low, high = max(start, 0), min(end, len(tokens))
    into[low - start : high - start] = tokens[low:high]
    if start < 0 and bos_id is not None:
        into[0] = bos_id
    if end > len(tokens) and eos_id is not None:
        into[-1] = eos_id
