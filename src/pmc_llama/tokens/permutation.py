"""Shuffling without memory: a permutation of n numbers computed a number at a time, from a key."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDS = 6


def key(*parts: int | str) -> int:
    """A 64-bit key from any numbers and words."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little")


def mix(numbers: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """64 well-mixed bits for each number (the finaliser of SplitMix64, Steele et al. 2014)."""
    x = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


class Permutation:
    """A random bijection of [0, n) onto itself that needs no table.

    A Feistel network permutes the smallest power of two that holds n; a result outside [0, n) is permuted again until
    it falls inside (cycle walking; Black and Rogaway, 2002), fewer than two rounds on average.
    """

    def __init__(self, n: int, *parts: int | str) -> None:
        self.n = n
        bits = max(2, (n - 1).bit_length())
        self._low_bits = bits // 2
        self._high_bits = bits - self._low_bits
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

    def _masks(self) -> tuple[np.uint64, np.uint64, np.uint64]:
        low = np.uint64(self._low_bits)
        return low, np.uint64((1 << self._low_bits) - 1), np.uint64((1 << self._high_bits) - 1)

    def _once(self, x: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Even rounds change the high half by the low one, odd rounds the low half by the high one."""
        shift, low_mask, high_mask = self._masks()
        high, low = x >> shift, x & low_mask
        for round_, round_key in enumerate(self._keys):
            if round_ % 2 == 0:
                high = high ^ (mix(low, round_key) & high_mask)
            else:
                low = low ^ (mix(high, round_key) & low_mask)
        return (high << shift) | low

    def _once_back(self, x: NDArray[np.uint64]) -> NDArray[np.uint64]:
        shift, low_mask, high_mask = self._masks()
        high, low = x >> shift, x & low_mask
        for round_, round_key in reversed(list(enumerate(self._keys))):
            if round_ % 2 == 0:
                high = high ^ (mix(low, round_key) & high_mask)
            else:
                low = low ^ (mix(high, round_key) & low_mask)
        return (high << shift) | low
