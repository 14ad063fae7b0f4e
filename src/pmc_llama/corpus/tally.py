"""What happened to the records of the inputs: the books that staging keeps."""

from collections import Counter
from pathlib import Path
from typing import TypeVar

import msgspec

from pmc_llama.corpus.contamination import Hit
from pmc_llama.corpus.paper import Counts

MOST_UNREAD = 100
UNREAD = frozenset(("bad_xml", "bad_json", "bad_utf8", "bad_row", "no_article", "too_deep", "too_large", "empty_file"))
"""Reasons that say that a record or file is broken, or none of its format."""
T = TypeVar("T", bound="Tally")


class Tally(msgspec.Struct):
    """What happened to the records of a block, a segment or an item."""

    seen: int = 0
    dropped: Counts = msgspec.field(default_factory=Counter)
    invalid_spans: int = 0
    chars_in: int = 0
    """Characters of the source text of the papers that were taken."""
    removed: Counts = msgspec.field(default_factory=Counter)
    """Characters that each cleaning rule took away from them (negative: added)."""
    unread: list[str] = []
    """The first MOST_UNREAD records or files that could not be read, each with its reason."""
    hits: list[Hit] = []
    """Evaluation questions found in papers that were dropped for it."""

    def add(self, other: "Tally") -> None:
        """Add another tally to this one."""
        self.seen += other.seen
        self.dropped.update(other.dropped)
        self.invalid_spans += other.invalid_spans
        self.chars_in += other.chars_in
        self.removed.update(other.removed)
        self.unread = [*self.unread, *other.unread][:MOST_UNREAD]
        self.hits.extend(other.hits)


class StagedItem(Tally):
    """The record of one item that was read to its end."""

    segments: int = 0
    """Staged files of its papers."""
    bytes: int = 0
    sha256: str = ""
    """Of the file as it lies; of a group, of its files' hashes in a row."""
    seconds: float = 0.0


def read_tally(path: Path, kind: type[T]) -> T:
    """A tally, or the record of a staged item."""
    return msgspec.json.decode(path.read_bytes(), type=kind, dec_hook=lambda _, counts: Counter(counts))
