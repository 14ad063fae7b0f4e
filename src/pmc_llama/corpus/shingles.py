"""Hashes of words and of runs of words, the same on every machine; what near-duplicates and contamination compare."""

import re

import numpy as np
import numpy.typing as npt

from pmc_llama.corpus.paper import hash64

Hashes = npt.NDArray[np.uint64]
WORD = re.compile(r"\w+")
MEMO_WORDS = 2_000_000
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xFF51AFD7ED558CCD)
_SHIFT = np.uint64(33)


class _Memo(dict[str, int]):
    """Word -> 64-bit hash, remembered up to a limit."""

    def __missing__(self, word: str) -> int:
        value = hash64(word) & 0xFFFF_FFFF_FFFF_FFFF
        if len(self) < MEMO_WORDS:
            self[word] = value
        return value


_memo = _Memo()


def word_hashes(text: str) -> Hashes:
    """A hash of each word (letters, digits, underscores), lower-case, punctuation left out; [W]."""
    words = WORD.findall(text.casefold())
    return np.fromiter(map(_memo.__getitem__, words), dtype=np.uint64, count=len(words))


def shingles(words: Hashes, length: int) -> Hashes:
    """A hash of each run of `length` words; [W - length + 1], empty for shorter texts."""
    count = len(words) - length + 1
    if count <= 0:
        return np.empty(0, dtype=np.uint64)
    hashes = np.zeros(count, dtype=np.uint64)
    for offset in range(length):
        hashes = hashes * _FACTOR + words[offset : offset + count]  # uint64 arithmetic wraps around
    hashes ^= hashes >> _SHIFT
    hashes *= _MIX
    return hashes ^ (hashes >> _SHIFT)
