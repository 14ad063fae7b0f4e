"""Lines that many papers share word for word (licence notes, publishers' statements), found by counting them."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from pmc_llama.corpus.paper import hash64

BREAK = "\n\n"
MAX_CHARS = 500
"""Longer paragraphs are never boilerplate; this bounds the count."""


def line_hashes(text: str) -> bytes:
    """Hashes of the distinct lines of a text that may be boilerplate: no headings, nothing long; int64 as bytes."""
    lines = {line for line in text.split(BREAK) if len(line) <= MAX_CHARS and not line.startswith("#")}
    return np.array(sorted(map(hash64, lines)), dtype="<i8").tobytes()


def frequent(hashes: Iterable[bytes], at_least: int) -> npt.NDArray[np.int64]:
    """The hashes that stand in at least so many papers, sorted."""
    joined = np.frombuffer(b"".join(hashes), dtype="<i8")
    values, counts = np.unique(joined, return_counts=True)
    return np.asarray(values[counts >= at_least])


def without(text: str, hashes: frozenset[int]) -> str:
    """The text without its boilerplate lines; as it is when nothing would be left."""
    lines = text.split(BREAK)
    kept = [line for line in lines if len(line) > MAX_CHARS or line.startswith("#") or hash64(line) not in hashes]
    return BREAK.join(kept) if kept and len(kept) < len(lines) else text
