"""Shuffling without memory: a permutation of n numbers computed a number at a time, from a key."""

import hashlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDS = 8
"""With six, small permutations are uneven: which of 16 numbers follows which is 1.8 times as scattered as by chance."""


def key(*parts: int | str) -> int:
    """A 64-bit key from any numbers and words."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little")


def mix(numbers: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """64 well-mixed bits for each number (the finaliser of SplitMix64, Steele et al. 2014)."""
    x = numbers + np.uint64(1)
    x *= np.uint64(0x9E3779B97F4A7C15)
    x += np.uint64(seed)
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


class Permutation:
    """A random bijection of [0, n) onto itself that needs no table.

    A generalised Feistel network (Black and Rogaway, 2002) permutes the smallest rectangle of about equal sides that
    holds n; a result outside [0, n) is permuted again until it falls inside (cycle walking), as few as one in sqrt(n).
    """

    def __init__(self, n: int, *parts: int | str) -> None:
        self.n = n
        self._width = math.isqrt(n - 1) + 1
        self._height = -(-n // self._width)
        self._keys = [key("permutation", round_, *parts) for round_ in range(ROUNDS)]

    def __call__(self, positions: NDArray[Any]) -> NDArray[np.int64]:
        """The numbers at these positions of the shuffled order."""
        x = self._once(np.asarray(positions, np.uint64))
        while (outside := np.flatnonzero(x >= self.n)).size:
            x[outside] = self._once(x[outside])
        return x.astype(np.int64)

    def inverse(self, numbers: NDArray[Any]) -> NDArray[np.int64]:
        """The positions at which these numbers stand in the shuffled order."""
        x = self._once_back(np.asarray(numbers, np.uint64))
        while (outside := np.flatnonzero(x >= self.n)).size:
            x[outside] = self._once_back(x[outside])
        return x.astype(np.int64)

    def _once(self, x: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Even rounds shift the row by a hash of the column, odd rounds the column by a hash of the row."""
        width, height = np.uint64(self._width), np.uint64(self._height)
        row, column = np.divmod(x, width)
        for round_, round_key in enumerate(self._keys):
            if round_ % 2 == 0:
                row = (row + _hash(column, round_key)) % height
            else:
                column = (column + _hash(row, round_key)) % width
        return row * width + column

    def _once_back(self, x: NDArray[np.uint64]) -> NDArray[np.uint64]:
        width, height = np.uint64(self._width), np.uint64(self._height)
        row, column = np.divmod(x, width)
        for round_, round_key in reversed(list(enumerate(self._keys))):
            if round_ % 2 == 0:
                row = (row + height - _hash(column, round_key) % height) % height
            else:
                column = (column + width - _hash(row, round_key) % width) % width
        return row * width + column


def _hash(numbers: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """63 bits, so that adding a row or a column never overflows."""
    return mix(numbers, seed) >> np.uint64(1)
