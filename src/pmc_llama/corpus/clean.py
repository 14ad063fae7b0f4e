"""From a paper to the text a model reads: profiles made of small named rules, each counted in characters."""

from collections import Counter
from collections.abc import Callable

from pmc_llama.corpus.paper import Counts, Paper
from pmc_llama.corpus.rules import (
    Piece,
    citations,
    layout,
    pieces_of,
    rejoin,
    tidy_text,
    without_back_matter,
    without_empty_headers,
)
from pmc_llama.recipe.corpus import CleanSection

CLEAN_KINDS = frozenset(
    ("title", "venue", "abstract", "sectionheader", "paragraph", "bibref", "bibentry", "figure", "figurecaption")
)
RAW_KINDS = frozenset(("title", "venue"))


class Cleaner:
    """The recipe's cleaning. `removed` of each call adds up exactly: characters in = characters out + Σ removed."""

    def __init__(self, section: CleanSection) -> None:
        self._section = section
        self.kinds = RAW_KINDS if section.profile == "raw" else CLEAN_KINDS

    def text(self, paper: Paper) -> tuple[str, Counts]:
        """The cleaned text, and the characters that each rule removed (negative: added)."""
        if self._section.profile == "raw" or not paper.spans:
            return self._without_spans(paper)
        removed: Counts = Counter()
        pieces, removed["outside_body"] = pieces_of(paper)
        steps: list[tuple[str, Callable[[list[Piece]], list[Piece]]]] = [
            ("back_matter", without_back_matter),
            ("citations", lambda found: citations(paper, found, self._section.citations)),
            ("rejoin", rejoin),
            ("characters", tidy_text),
            ("empty_headers", without_empty_headers),
        ]
        for name, step in steps:
            before = _length(pieces)
            pieces = step(pieces)
            removed[name] = before - _length(pieces)
        text = layout(pieces)
        removed["layout"] = _length(pieces) - len(text)
        return text, removed

    def _without_spans(self, paper: Paper) -> tuple[str, Counts]:
        """Documents that have no structure to work on keep their text whole."""
        return paper.text, Counter()


def _length(pieces: list[Piece]) -> int:
    return sum(len(piece.text) for piece in pieces)
