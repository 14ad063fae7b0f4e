"""From a paper to the text a model reads: profiles made of small named rules, each counted in characters."""

from collections import Counter
from collections.abc import Callable
from operator import attrgetter

import msgspec

from pmc_llama.corpus.meditron import meditron_layout
from pmc_llama.corpus.paper import Counts, Paper
from pmc_llama.corpus.pieces import Piece, pieces_of, rule_named
from pmc_llama.corpus.rules import layout, pes2o_layout, pes2o_refusal
from pmc_llama.recipe.corpus import CleanSection
from pmc_llama.recipe.registry import rules_of

_TEXT = attrgetter("text")
METADATA_KINDS = frozenset(("title", "venue"))
BODY_KINDS = METADATA_KINDS | {"abstract", "sectionheader", "paragraph"}
FLOAT_KINDS = frozenset(("figure", "figurecaption"))


class Profile(msgspec.Struct, frozen=True):
    """What a profile takes of a paper, and how it sets it; the registry says which rules it has."""

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
        self._rules = {name: rule_named(name) for name in rules_of(section.profile) if name not in section.off}
        self.kinds = self._profile.kinds

    @property
    def rules(self) -> dict[str, int]:
        """The rules that run, in their order, with their versions."""
        return {name: rule.version for name, rule in self._rules.items()}

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
        for name, rule in self._rules.items():
            pieces = rule(pieces, paper, self._section)
            after = _length(pieces)
            removed[name] = before - after
            before = after
        text = self._profile.layout(pieces)
        removed["layout"] = before - len(text)
        refusal = self._profile.refusal(pieces, paper) if self._profile.refusal is not None else None
        return text, removed, refusal


def _length(pieces: list[Piece]) -> int:
    return sum(map(len, map(_TEXT, pieces)))
