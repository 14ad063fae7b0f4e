"""Near-duplicates: MinHash signatures of word shingles, banded to find pairs, verified, joined by union-find."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pmc_llama.corpus.dedup import components
from pmc_llama.corpus.shingles import shingles, word_hashes
from pmc_llama.errors import PmcLlamaError
from pmc_llama.recipe.corpus import NearSection

SEED = 42
Signatures = npt.NDArray[np.uint32]
_BAND_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def signatures(texts: Sequence[str], section: NearSection) -> list[bytes | None]:
    """The MinHash signature of each text, `bands * rows` uint32 as bytes; None for a text without words."""
    try:
        from rensa import RMinHash
    except ImportError:
        raise PmcLlamaError("dedup.near needs the extra `near`: pip install 'pmc-llama[near]'") from None
    hashes = []
    for text in texts:
        words = word_hashes(text)
        hashes.append(shingles(words, min(section.shingle_words, max(len(words), 1))))
    offsets = np.cumsum([0, *map(len, hashes)]).tolist()
    flat = np.concatenate(hashes) if hashes else np.empty(0, dtype=np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(flat, offsets, section.bands * section.rows, SEED)
    rows = matrix.to_rows() if hashes else []
    return [np.array(row, "<u4").tobytes() if len(hashed) else None for row, hashed in zip(rows, hashes, strict=True)]


def near_duplicates(
    found: Sequence[bytes | None], best: npt.NDArray[np.int64], section: NearSection
) -> npt.NDArray[np.bool_]:
    """Which of N papers is a near-duplicate of one that stays; bool [N].

    `best`: row numbers in the order of preference. Papers whose signatures share a band are compared with their
    neighbours in that band; those similar enough are linked, and the preferred one of each linked group stays.
    """
    known = np.flatnonzero([signature is not None for signature in found])
    if len(known) < 2:
        return np.zeros(len(found), dtype=bool)
    matrix: Signatures = np.frombuffer(b"".join(signature for signature in found if signature), dtype="<u4")
    matrix = matrix.reshape(len(known), -1)  # [K, bands * rows]
    first, second = _similar_pairs(matrix, section)
    label = components(known[first], known[second], len(found))
    survivor = np.full(len(found), -1, dtype=np.int64)  # component -> row
    survivor[label[best[::-1]]] = best[::-1]
    return np.asarray(survivor[label] != np.arange(len(found)))


def _similar_pairs(matrix: Signatures, section: NearSection) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pairs of rows that share a band and whose estimated similarity is high enough."""
    pairs = [_band_pairs(matrix[:, band * section.rows : (band + 1) * section.rows]) for band in range(section.bands)]
    first, second = np.unique(np.concatenate(pairs, axis=1), axis=1)
    similar = np.empty(len(first), dtype=bool)
    for start in range(0, len(first), 2**16):  # bounds the memory of the comparison
        part = slice(start, start + 2**16)
        similar[part] = (matrix[first[part]] == matrix[second[part]]).mean(axis=1) >= section.similarity
    return first[similar], second[similar]


def _band_pairs(band: Signatures) -> npt.NDArray[np.int64]:
    """Each row with the first and with the one before it of those that agree with it in one band; [2, P]."""
    keys = np.zeros(len(band), dtype=np.uint64)
    for column in band.T:
        keys = keys * _BAND_FACTOR + column.astype(np.uint64)
    order = np.argsort(keys, kind="stable")
    same = keys[order][1:] == keys[order][:-1]
    starts = np.flatnonzero(np.concatenate([[True], ~same]))
    first = order[np.repeat(starts, np.diff([*starts, len(order)]))]
    later = np.flatnonzero(same) + 1
    return np.concatenate([[first[later], order[later]], [order[later - 1], order[later]]], axis=1)
