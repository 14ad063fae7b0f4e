"""What cleaning works on: the pieces of a paper, and the rules that take them and return what they leave of them."""

import inspect
from collections.abc import Callable
from typing import TypeVar

import msgspec

from pmc_llama.corpus.paper import Paper, Span
from pmc_llama.recipe.corpus import CleanSection
from pmc_llama.recipe.registry import RULES, load

Function = TypeVar("Function", bound=Callable[..., list["Piece"]])

PIECE_OF = {
    **{"title": "title", "abstract": "abstract", "sectionheader": "header", "paragraph": "paragraph"},
    "figurecaption": "caption",
}


class Piece(msgspec.Struct):
    """A heading, paragraph or caption on its way into the text."""

    kind: str
    """title, abstract, header, paragraph or caption."""
    text: str
    start: int
    """Where `text` began in the paper's text."""
    depth: int | None = None
    """Level of a header from 1; None when the source does not tell."""


def pieces_of(paper: Paper, wanted: frozenset[str]) -> list[Piece]:
    """The wanted ones of title, abstract, headers, paragraphs and captions, in the order of the text.

    Of spans that overlap the earlier, longer one stands. Front matter, bibliography and table bodies are outside.
    """
    pieces: list[Piece] = []
    figures = [span for span in paper.spans if span.kind == "figure"]
    end = -1
    has_title = False
    for span in paper.spans:
        kind = PIECE_OF.get(span.kind)
        if kind is None or kind not in wanted or span.start < end or (kind == "title" and has_title):
            continue
        has_title = has_title or kind == "title"
        start = _label_start(figures, span, end) if kind == "caption" else span.start
        pieces += _split(kind, paper.text[start : span.end], start, _depth(span))
        end = span.end
    return pieces


def _split(kind: str, text: str, start: int, depth: int | None) -> list[Piece]:
    """One piece; an abstract gives one per line."""
    if kind != "abstract":
        return [Piece(kind, text, start, depth)]
    pieces = []
    for line in text.splitlines(keepends=True):
        pieces.append(Piece("abstract", line, start))
        start += len(line)
    return pieces


def _label_start(figures: list[Span], caption: Span, end: int) -> int:
    """Where "Figure 1" stands before a caption, when the record marks the whole figure."""
    for figure in figures:
        if max(end, caption.start - 20) <= figure.start <= caption.start and caption.end <= figure.end:
            return figure.start
    return caption.start


def _depth(span: Span) -> int | None:
    if span.depth is not None:
        return span.depth
    return len([part for part in span.number.split(".") if part]) or None if span.number else None


class Rule(msgspec.Struct, frozen=True):
    """A cleaning rule, as `rule` made it of a function."""

    version: int
    needs: tuple[str, ...]
    function: Callable[..., list[Piece]]
    cut_paragraphs_only: bool

    def __call__(self, pieces: list[Piece], paper: Paper, section: CleanSection) -> list[Piece]:
        """What the rule leaves of a paper's pieces."""
        if self.cut_paragraphs_only and paper.true_paragraphs:
            return pieces
        given = {"paper": paper, "section": section}
        return self.function(pieces, **{name: given[name] for name in self.needs})


MADE: dict[str, Rule] = {}
"""The rules of the modules that were loaded; `pmc_llama.recipe.registry` says which module has which."""


def rule(name: str, version: int, *, cut_paragraphs_only: bool = False) -> Callable[[Function], Function]:
    """Make a function a rule: it takes `pieces` and, by these names, what else it needs of `paper` and `section`.

    `version` counts up when what the rule removes changes; `corpus.json` and the card state it. A rule that mends what
    page breaks did is for formats with `cut_paragraphs_only`, not for those that mark their paragraphs.
    """

    def made(function: Function) -> Function:
        needs = tuple(inspect.signature(function).parameters)[1:]
        MADE[name] = Rule(version, needs, function, cut_paragraphs_only)
        return function

    return made


def rule_named(name: str) -> Rule:
    """The rule of this name, loaded."""
    load(RULES[name].function)
    return MADE[name]
