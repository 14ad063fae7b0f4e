"""Citations: a run of them with its separators, brackets and names is one unit, removed where the sentence stands."""

import re
from bisect import bisect_left

from pmc_llama.corpus.citation_marks import ANY, CITED, CLOSERS, DASH, OPENERS, SIGN, grouped, marks, restored, told
from pmc_llama.corpus.paper import Paper
from pmc_llama.corpus.pieces import Piece, rule
from pmc_llama.recipe.corpus import CleanSection

RUN = re.compile(
    rf"{SIGN}[{ANY}](?:[\s,;&/{DASH}]*(?:\b(?:and|or|to|through)\b[\s,]+)?{SIGN}[{ANY}])*"
    rf"(?:(?<=[{CITED}])[{DASH}]\d{{1,3}}(?![\w{DASH}]|\.\d))?"
)
LEANING = frozenset(
    (
        *("in", "by", "from", "of", "to", "with", "at", "on", "for", "per", "via", "see", "cf", "cf.", "e.g", "e.g."),
        *("e.g.,", "eg", "eg,", "i.e", "i.e.", "i.e.,", "than", "as", "ref", "ref.", "refs", "refs.", "reference"),
        *("references", "under", "between", "into", "using", "like", "unlike", "against", "among", "and", "or", "but"),
        *("nor", "both", "either", "is", "are", "was", "were", "be", "the", "a", "an", "no.", "nos.", "citation"),
        *("citations", "footnote", "see:", "ref:", "refs:", "references:", "cf:", "by:"),
    )
)
"""Words after which a citation is the noun."""
ET_AL = ("al", "al.", "al.,", "al,")
SPECIAL = LEANING.union(ET_AL, ("also",))
"""Without one of these before it no citation is needed, but at the start of a sentence."""
STARTS = "([{.!?:"
BLANKS = re.compile(r"\s*")
SEPARATORS = re.compile(r"[\s,;:]*")
CONTEXT_CHARS = 40
"""So much of the text before a citation says whether the sentence needs it."""
LOOSE = " ,;:-\u2010\u2011\u2012\u2013\u2014\u2015"
STOPS = ".,;:!?)]}"
JOINTS = "-/\u2010\u2011\u2012\u2013\u2014\u2015"
OPENER, LOOSE_AT_STOP = tuple(OPENERS), LOOSE + OPENERS


@rule("citations", version=3)
def citations(pieces: list[Piece], paper: Paper, section: CleanSection) -> list[Piece]:
    """`drop` citations with their brackets, `tag` them as [citation], or `keep` them.

    In all modes a citation that is part of the sentence ("Smith et al. showed") stays; so does one under `drop`
    without which the sentence would not stand ("as described in [8].").
    """
    spans = [span for span in paper.spans if span.kind == "bibref"]
    mode = section.citations
    if mode == "keep" or not spans:
        return pieces
    starts = [span.start for span in spans]
    tag = "[citation]" if mode == "tag" else ""
    first = 0
    for piece in pieces:  # in the order of the text, as spans are
        first = bisect_left(starts, piece.start, first)
        if first == len(starts):
            break
        if starts[first] >= piece.start + len(piece.text) or piece.kind == "title":
            continue
        inside = spans[first : bisect_left(starts, piece.start + len(piece.text), first)]
        marked, table, narrative, is_grouped = marks(piece, inside)
        if not is_grouped and ("(" in marked or "[" in marked):
            marked = grouped(marked, table)
        if narrative:
            marked = told(marked, table, narrative)
        piece.text = _resolved(marked, table, tag)
    return pieces


def _resolved(marked: str, table: dict[str, str], tag: str) -> str:
    """Remove or tag the runs of marks; those that the sentence needs become text again."""
    parts: list[str] = []
    position = 0
    for match in RUN.finditer(marked):
        start, end = match.span()
        text = marked[position:start]
        while parts and len(text) < CONTEXT_CHARS:
            text = parts.pop() + text
        position = end
        if tag:
            parts.append(text + tag)
            continue
        goes_on, following = end, marked[end : end + 1]
        if following.isspace():
            goes_on, following = end + 1, marked[end + 1 : end + 2]
            if following.isspace():
                goes_on = _end_of(BLANKS, marked, end)
                following = marked[goes_on : goes_on + 1]
        ends = not following or (following in STOPS and not marked[goes_on + 1 : goes_on + 2].isdigit())
        before = text.rstrip()
        raised = len(before) == len(text) > 0 and table[marked[start : start + 2]][0] not in OPENERS
        last = before[before.rfind(" ") + 1 :].lower()
        may_be = last in SPECIAL or last[:1] in OPENERS or (following.islower() and before[-1:] in STARTS)
        if may_be and _is_needed(before, raised, following, ends):
            source = restored(match.group(), table)
            parts.append(f"{text} [{source}]" if raised and before[-1] not in OPENERS else text + source)
        elif text.endswith(OPENER) and following not in (".", ""):
            position = _end_of(SEPARATORS, marked, end)
            parts.append(text)
        elif ends:
            text, position = _closed_up(before, following, goes_on)
            parts.append(text)
        else:
            apart = goes_on > end or following.isalnum() or following in OPENERS
            apart = apart or (len(before) < len(text) and following not in JOINTS)
            parts.append(before + " " if apart and before else before)
            position = goes_on
    parts.append(marked[position:])
    return "".join(parts)


def _is_needed(before: str, raised: bool, following: str, ends: bool) -> bool:
    """Whether the sentence does not stand without a citation: it is the noun after a preposition, or the subject.

    `raised`: it is a number set above the line, with no blank before it.
    """
    last = before[before.rfind(" ") + 1 :].lower()
    if last[:1] in OPENERS:
        last = last.lstrip(OPENERS)
    if last in LEANING or (last == "also" and before[-8:-5].lower() == "see"):
        return ends or not raised
    if last in ET_AL and before.rstrip(".,")[-6:].split()[-2:] == ["et", "al"]:
        return ends and following != ","
    if raised or not following.islower():
        return False
    return not before or before[-1] in OPENERS or before[-1] in ".!?:"


def _closed_up(text: str, following: str, goes_on: int) -> tuple[str, int]:
    """The text before a run at the end of a clause, without what belonged to the run, and where it goes on."""
    before = text.rstrip(LOOSE_AT_STOP if following in (".", "") else LOOSE)
    if following in CLOSERS and before.endswith(OPENER):
        return before[:-1].rstrip(), goes_on + 1
    return before, goes_on + 1 if following == "." and before.endswith((".", "?", "!")) else goes_on


def _end_of(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position
