"""The order `packed`: every token of every document once an epoch, without padding but in one row."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pmc_llama.tokens.layout import Documents, Pieces, Spans
from pmc_llama.tokens.permutation import Permutation, key


class Packed:
    """All documents, each BOS + tokens + EOS, joined to one circle that is cut into rows of `seq_len`.

    The circle follows the store; the first cut lies elsewhere in each epoch, and the rows are shuffled. A document
    longer than what is left of its row goes on in another row. Only the last row of the circle may be shorter.
    """

    def __init__(self, documents: Documents, seq_len: int, seed: int, *, bos: bool, eos: bool) -> None:
        self._documents, self._seq_len, self._seed, self._head = documents, seq_len, seed, int(bos)
        self._circle = Spans(np.cumsum(documents.lengths + int(bos) + int(eos)))
        self._ends = self._circle.ends  # [N]
        self.total_tokens = int(self._ends[-1])
        self.rows_per_epoch = -(-self.total_tokens // seq_len)
        self._epoch = lru_cache(maxsize=2)(self._shuffle)

    def pieces(self, epoch: int, rows: NDArray[np.int64]) -> Pieces:
        """Follow the circle from each row's first token, a document at a time, until every row is full."""
        order, phase = self._epoch(epoch)
        cut = order(rows) * self._seq_len  # [R] where the row starts, counted from the first cut
        left = np.minimum(self._seq_len, self.total_tokens - cut)  # [R] tokens still to place
        at = (cut + phase) % self.total_tokens  # [R] place on the circle
        document = self._circle.find(at)
        row, column = np.arange(len(rows)), np.zeros(len(rows), np.int64)
        found: list[tuple[NDArray[np.int64], ...]] = []
        while len(row):
            lengths = np.minimum(left, self._ends[document] - at)
            starts = at - (self._ends[document - 1] * (document > 0)) - self._head
            found.append((row, column, self._documents.numbers[document], starts, lengths))
            more = left > lengths
            row, column, left = row[more], (column + lengths)[more], (left - lengths)[more]
            document = (document[more] + 1) % len(self._ends)
            at = self._ends[document - 1] * (document > 0)
        return Pieces(*(np.concatenate(arrays) for arrays in zip(*found, strict=True)))

    def seen(self, rows: int) -> int:
        """Every full row of the first epoch adds `seq_len` tokens; the short one adds what it has."""
        if rows >= self.rows_per_epoch:
            return self.total_tokens
        order, _ = self._epoch(0)
        short_row = int(order.inverse(np.array([self.rows_per_epoch - 1]))[0])
        missing = self.rows_per_epoch * self._seq_len - self.total_tokens
        return rows * self._seq_len - (missing if short_row < rows else 0)

    def _shuffle(self, epoch: int) -> tuple[Permutation, int]:
        return (
            Permutation(self.rows_per_epoch, "packed", self._seed, epoch),
            key("phase", self._seed, epoch) % self.total_tokens,
        )
