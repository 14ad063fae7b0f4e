"""From a paper to the text a model reads: profiles made of small named rules, each counted in characters."""

from collections import Counter
from collections.abc import Callable

import msgspec

from pmc_llama.corpus.citations import citations
from pmc_llama.corpus.meditron import meditron_layout, meditron_mentions
from pmc_llama.corpus.paper import Counts, Paper
from pmc_llama.corpus.rules import (
    Piece,
    layout,
    pes2o_layout,
    pes2o_refusal,
    pieces_of,
    rejoin,
    tidy_text,
    without_back_matter,
    without_empty_headers,
)
from pmc_llama.corpus.word_counts import without_rare_words
from pmc_llama.recipe.corpus import RULES, CleanSection

Rule = Callable[[Paper, list[Piece], CleanSection], list[Piece]]
RULE_OF: dict[str, Rule] = {
    "back_matter": lambda paper, pieces, section: without_back_matter(pieces),
    "citations": lambda paper, pieces, section: citations(paper, pieces, section.citations),
    "mentions": lambda paper, pieces, section: meditron_mentions(paper, pieces),
    "rejoin": lambda paper, pieces, section: pieces if paper.true_paragraphs else rejoin(pieces),
    "characters": lambda paper, pieces, section: tidy_text(pieces),
    "rare_words": lambda paper, pieces, section: without_rare_words(pieces, section.word_counts),
    "empty_headers": lambda paper, pieces, section: without_empty_headers(pieces),
}
METADATA_KINDS = frozenset(("title", "venue"))
BODY_KINDS = METADATA_KINDS | {"abstract", "sectionheader", "paragraph"}
FLOAT_KINDS = frozenset(("figure", "figurecaption"))


class Profile(msgspec.Struct, frozen=True):
    """What a profile takes of a paper, and how it sets it; its rules stand in the recipe's RULES."""

    kinds: frozenset[str]
    pieces: frozenset[str]
    """Kinds of pieces that it keeps."""
    layout: Callable[[list[Piece]], str]
    refusal: Callable[[list[Piece], Paper], str | None] | None = None


PROFILES = {
    "raw": Profile(METADATA_KINDS, frozenset(), layout),
    "clean": Profile(
        BODY_KINDS | FLOAT_KINDS | {"bibref"},
        frozenset(("title", "abstract", "header", "paragraph", "caption")),
        layout,
    ),
    "meditron": Profile(
        BODY_KINDS
        | FLOAT_KINDS
        | {"bibref", "bibentry", "bibtitle", "bibauthorlastname", "figureref", "tableref", "formula"},
        frozenset(("title", "abstract", "header", "paragraph", "caption")),
        meditron_layout,
    ),
    "pes2o": Profile(BODY_KINDS, frozenset(("title", "abstract", "header", "paragraph")), pes2o_layout, pes2o_refusal),
}


class Cleaner:
    """The recipe's cleaning. `removed` of each call adds up exactly: characters in = characters out + Σ removed."""

    def __init__(self, section: CleanSection) -> None:
        self._section = section
        self._profile = PROFILES[section.profile]
        self._rules = [name for name in RULES[section.profile] if name not in section.off]
        self.kinds = self._profile.kinds

    def text(self, paper: Paper) -> tuple[str, Counts, str | None]:
        """The cleaned text, the characters that each rule removed (negative: added), and a reason to drop the paper.

        Documents without structure (plain text) keep their text whole, as every paper does under `raw`.
        """
        if self._section.profile == "raw" or not paper.spans:
            return paper.text, Counter(), None
        removed: Counts = Counter()
        pieces = pieces_of(paper, self._profile.pieces)
        before = _length(pieces)
        removed["outside_body"] = len(paper.text) - before
        for name in self._rules:
            pieces = RULE_OF[name](paper, pieces, self._section)
            after = _length(pieces)
            removed[name] = before - after
            before = after
        text = self._profile.layout(pieces)
        removed["layout"] = before - len(text)
        refusal = self._profile.refusal(pieces, paper) if self._profile.refusal is not None else None
        return text, removed, refusal


def _length(pieces: list[Piece]) -> int:
    return sum([len(piece.text) for piece in pieces])
