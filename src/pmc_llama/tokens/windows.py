"""The orders `windows` and `sweep`: one window of `seq_len` tokens of every paper an epoch."""

from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pmc_llama.tokens.layout import Documents, Pieces
from pmc_llama.tokens.permutation import Permutation, key, mix

CHUNK = 1 << 18
"""Documents whose coverage is computed at once, so that memory stays small."""


class Windows:
    """One random window per paper and epoch, drawn anew each epoch, as PMC-LLaMA did.

    A window is a plain cutting: no BOS, and EOS only behind a paper shorter than the window, whose row is then
    padded without loss (PMC-LLaMA took the loss on its padding of EOS as well).
    """

    name: ClassVar[str] = "windows"

    def __init__(self, documents: Documents, seq_len: int, seed: int, *, eos: bool) -> None:
        self._documents, self._seq_len, self._seed, self._eos = documents, seq_len, seed, eos
        self.rows_per_epoch = len(documents.lengths)
        self.total_tokens = int(documents.lengths.sum())
        self._order = lru_cache(maxsize=2)(lambda epoch: Permutation(self.rows_per_epoch, self.name, seed, epoch))
        self._after = lru_cache(maxsize=2)(self._seen_after)
        self._partial = (0, 0, 0)  # (epoch, its rows, tokens that were new in them): the last answer, to go on from

    def pieces(self, epoch: int, rows: NDArray[np.int64]) -> Pieces:
        """One piece per row."""
        papers = self._order(epoch)(rows)
        lengths = self._documents.lengths[papers]
        taken = np.minimum(lengths + self._eos * (lengths < self._seq_len), self._seq_len)
        zeros = np.zeros(len(rows), np.int64)
        return Pieces(np.arange(len(rows)), zeros, self._documents.numbers[papers], self._starts(papers, epoch), taken)

    def seen(self, rows: int) -> int:
        """Distinct tokens: of whole epochs over all papers, and of the papers that the begun epoch has come to."""
        epoch, begun = divmod(rows, self.rows_per_epoch)
        last_epoch, done, new = self._partial
        if last_epoch != epoch or done > begun:
            done, new = 0, 0
        for first in range(done, begun, CHUNK):
            papers = self._order(epoch)(np.arange(first, min(first + CHUNK, begun)))
            new += int((self._distinct(papers, epoch + 1) - self._distinct(papers, epoch)).sum())
        self._partial = (epoch, begun, new)
        return int(self._after(epoch)) + new

    def _seen_after(self, epochs: int) -> int:
        return sum(
            int(self._distinct(np.arange(first, min(first + CHUNK, self.rows_per_epoch)), epochs).sum())
            for first in range(0, self.rows_per_epoch, CHUNK)
        )

    def _starts(self, papers: NDArray[np.int64], epoch: int) -> NDArray[np.int64]:
        """First token of each paper's window; every start that leaves a whole window is as likely as any other."""
        choices = np.maximum(self._documents.lengths[papers] - self._seq_len, 0) + 1
        starts: NDArray[np.int64] = self._draw(papers, epoch) % choices
        return starts

    def _draw(self, papers: NDArray[np.int64], *parts: int) -> NDArray[np.int64]:
        bits = mix(self._documents.numbers[papers].astype(np.uint64), key(self.name, self._seed, *parts))
        return (bits >> np.uint64(1)).astype(np.int64)

    def _distinct(self, papers: NDArray[np.int64], epochs: int) -> NDArray[np.int64]:
        """Distinct tokens of each paper in its windows of the first `epochs` epochs: the length of their union."""
        if epochs == 0:
            return np.zeros(len(papers), np.int64)
        starts = np.sort([self._starts(papers, epoch) for epoch in range(epochs)], axis=0)  # [epochs, papers]
        union = self._seq_len + np.minimum(np.diff(starts, axis=0), self._seq_len).sum(axis=0)
        distinct: NDArray[np.int64] = np.minimum(union, self._documents.lengths[papers])
        return distinct


class Sweep(Windows):
    """One window per paper and epoch, and each epoch one not seen before, until the paper is done; then again.

    A paper is cut into whole windows, visited one after the other from a random one; what is left behind the last comes
    at the end, in a window that ends with the paper.
    """

    name = "sweep"

    def _starts(self, papers: NDArray[np.int64], epoch: int) -> NDArray[np.int64]:
        lengths = self._documents.lengths[papers]
        whole = lengths // self._seq_len
        windows = -(-lengths // self._seq_len)
        visit = epoch % windows
        turned = (self._draw(papers) + visit) % np.maximum(whole, 1)
        return np.where(visit < whole, turned * self._seq_len, np.maximum(lengths - self._seq_len, 0))

    def _distinct(self, papers: NDArray[np.int64], epochs: int) -> NDArray[np.int64]:
        return np.minimum(self._documents.lengths[papers], epochs * self._seq_len)
