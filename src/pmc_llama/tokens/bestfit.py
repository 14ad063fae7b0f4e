"""The packing `best_fit` of the order `packed`: documents are cut only where they are longer than a row."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from pmc_llama.tokens.layout import Documents, Pieces, Spans
from pmc_llama.tokens.permutation import Permutation


@dataclass(frozen=True)
class Bin:
    """`count` rows that hold pieces of the same lengths, the longest first."""

    lengths: tuple[int, ...]
    count: int


class BestFit:
    """All documents, each BOS + tokens + EOS, cut into whole rows of `seq_len`; their last pieces share rows.

    Which last pieces share a row is decided by best-fit decreasing, as in Ding et al. 2024 (arXiv 2404.10830): the
    longest first, each into the fullest row that has room; what room is left is padded. The packing is the same in each
    epoch, the order of the rows is not.
    """

    def __init__(self, documents: Documents, seq_len: int, seed: int, *, bos: bool, eos: bool) -> None:
        self._documents, self._seq_len, self._head = documents, seq_len, int(bos)
        self._sequence = documents.lengths + int(bos) + int(eos)  # [N]
        self.total_tokens = int(self._sequence.sum())
        self._whole_rows = Spans(np.cumsum(self._sequence // seq_len))  # of each document
        self._whole = int(self._whole_rows.ends[-1])
        last = self._sequence % seq_len  # [N]
        self._by_last = np.argsort(-last, kind="stable")  # [N] documents, the longest last piece first
        counts = np.bincount(last, minlength=seq_len)
        self._bins = best_fit(counts, seq_len)
        self._bin_ends = np.cumsum([0] + [b.count for b in self._bins])[1:]
        self._firsts = list(_first_documents(self._bins, counts))
        self.rows_per_epoch = self._whole + sum(b.count for b in self._bins)
        self._order = lru_cache(maxsize=2)(lambda epoch: Permutation(self.rows_per_epoch, "best_fit", seed, epoch))

    def pieces(self, epoch: int, rows: NDArray[np.int64]) -> Pieces:
        """In the unshuffled order whole rows come first, then the rows of last pieces, bin by bin."""
        places = self._order(epoch)(rows)
        row = np.flatnonzero(places < self._whole)
        document = self._whole_rows.find(places[row])
        before = self._whole_rows.ends[document] - self._sequence[document] // self._seq_len
        start, zeros = (places[row] - before) * self._seq_len, np.zeros(len(row), np.int64)
        whole = np.stack([row, zeros, document, start, zeros + self._seq_len], axis=1)  # [P, 5]
        shared = np.array(list(self._shared(places)), np.int64).reshape(-1, 5)
        row, column, document, start, length = np.concatenate([whole, shared]).T
        return Pieces(row, column, self._documents.numbers[document], start - self._head, length)

    def seen(self, rows: int) -> int:
        """Every row of the first epoch adds `seq_len` tokens but those that have room left, which are few."""
        if rows >= self.rows_per_epoch:
            return self.total_tokens
        at, missing = self._short_rows
        return rows * self._seq_len - int(missing[np.searchsorted(at, rows)])

    @cached_property
    def _short_rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where rows with room left stand in the first epoch [S], rising, and their room summed up [S + 1]."""
        room = np.repeat([self._seq_len - sum(b.lengths) for b in self._bins], [b.count for b in self._bins])
        short = np.flatnonzero(room)
        at = self._order(0).inverse(short + self._whole)
        by_place = np.argsort(at)
        return at[by_place], np.cumsum(np.concatenate([[0], room[short[by_place]]]))

    def _shared(self, places: NDArray[np.int64]) -> Iterator[tuple[int, int, int, int, int]]:
        """(row, column, document, start, length) of the pieces in rows of last pieces."""
        rows = np.flatnonzero(places >= self._whole)
        within = places[rows] - self._whole
        numbers = np.searchsorted(self._bin_ends, within, side="right")
        for row, number, place in zip(rows.tolist(), numbers.tolist(), within.tolist(), strict=True):
            rows_before, column = int(self._bin_ends[number]) - self._bins[number].count, 0
            for length, first in zip(self._bins[number].lengths, self._firsts[number], strict=True):
                document = int(self._by_last[first + place - rows_before])
                yield row, column, document, int(self._sequence[document]) - length, length
                column += length


def best_fit(counts: NDArray[np.int64], capacity: int) -> list[Bin]:
    """Pack `counts[length]` pieces of each length into rows of `capacity`, by best-fit decreasing.

    Pieces of one length are alike and so are rows with the same room, so that all of them are placed at once and the
    time depends on `capacity`, not on the number of pieces.
    """
    open_bins: dict[int, list[Bin]] = {capacity: [Bin((), int(counts[1:].sum()))]}  # by room
    for length in range(min(len(counts), capacity + 1) - 1, 0, -1):
        left = int(counts[length])
        for room in sorted(room for room in open_bins if room >= length):
            if not left:
                break
            each = room // length
            waiting, unchanged = open_bins.pop(room), []
            for group in waiting:
                filled = min(group.count, left // each)
                rest = left - filled * each if filled < group.count else 0
                rest = min(rest, each)
                left -= filled * each + rest
                for pieces, count in ((each, filled), (rest, int(rest > 0))):
                    if count:
                        bins = open_bins.setdefault(room - pieces * length, [])
                        bins.append(Bin(group.lengths + (length,) * pieces, count))
                if group.count > filled + (rest > 0):
                    unchanged.append(Bin(group.lengths, group.count - filled - (rest > 0)))
            if unchanged:
                open_bins[room] = unchanged
    open_bins.pop(capacity, None)
    return [group for room in sorted(open_bins) for group in open_bins[room]]


def _first_documents(bins: list[Bin], counts: NDArray[np.int64]) -> Iterator[list[int]]:
    """For each bin and piece: where its first row's document stands among those sorted by their last piece."""
    longer = np.cumsum(counts[::-1])[::-1] - counts  # [seq_len] documents with a longer last piece
    free = longer.tolist()
    for group in bins:
        firsts = []
        for length in group.lengths:
            firsts.append(free[length])
            free[length] += group.count
        yield firsts
