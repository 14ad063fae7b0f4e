"""Rules of Meditron's GAP-Replay corpus: citations, mentions, captions and formulas become tagged words."""

import re
from bisect import bisect_left

from pmc_llama.corpus.paper import Paper, Span
from pmc_llama.corpus.pieces import Piece, rule

MAIN_HEADERS = (
    *("abstract", "introduction", "background", "related", "method", "material", "result", "analysis", "discussion"),
    *("conclusion", "contribution", "statement", "declaration", "strength", "limitation", "future research", "funding"),
    *("disclosure", "acknowledgment", "ethical", "tables", "figures", "appendix"),
)
MAIN_HEADER_WORDS = 3
TITLE_WORDS = 12
LONG_CAPTION = 20
BULLET = re.compile(r"^[•·▪◦‣∙●*]\s*", re.MULTILINE)
MENTIONS = {"bibref", "figureref", "tableref", "formula"}


@rule("mentions", version=1)
def meditron_mentions(pieces: list[Piece], paper: Paper) -> list[Piece]:
    """Replace each citation by title and first author, each figure or table mention by its caption's beginning.

    Citations that lead nowhere disappear. A citation takes along a bracket up to three characters away from it.
    """
    spans = [span for span in paper.spans if span.kind in MENTIONS]
    starts = [span.start for span in spans]
    cited, captions = _cited(paper), _captions(paper)
    for piece in pieces:
        end = piece.start + len(piece.text)
        inside = spans[bisect_left(starts, piece.start) : bisect_left(starts, end)]
        if inside and piece.kind in ("abstract", "paragraph"):
            piece.text = _replaced(piece, inside, cited, captions)
    return pieces


def _replaced(piece: Piece, spans: list[Span], cited: dict[str, str], captions: dict[str, str]) -> str:
    parts, position = [], 0
    for span in spans:
        start, end = span.start - piece.start, min(span.end - piece.start, len(piece.text))
        if start < position:
            continue
        words = piece.text[start:end]
        if span.kind == "bibref":
            start, end = _with_brackets(piece.text, start, end, position)
            tagged = f" [bib_ref] {cited[span.ref]} [/bib_ref] " if span.ref in cited else " "
        elif span.kind == "formula":
            tagged = f"\n[formula] {words} [/formula]\n"
        else:
            caption = captions.get(span.ref or "", "")
            tagged = f" [fig_ref] {words}{': ' + caption if caption else ''} [/fig_ref] "
        parts += [piece.text[position:start], tagged]
        position = end
    return "".join([*parts, piece.text[position:]])


def _with_brackets(text: str, start: int, end: int, position: int) -> tuple[int, int]:
    before, after = text[max(position, start - 3) : start], text[end : end + 3]
    if "(" in before:
        start -= len(before) - before.rindex("(")
    if ")" in after:
        end += after.index(")") + 1
    return start, end


def _cited(paper: Paper) -> dict[str, str]:
    """ "title, last name of the first author" of each entry of the bibliography that has a title."""
    found: dict[str, str] = {}
    entries = [span for span in paper.spans if span.kind == "bibentry" and span.ref is not None]
    for kind in ("bibtitle", "bibauthorlastname"):
        parts = [span for span in paper.spans if span.kind == kind]
        starts = [part.start for part in parts]
        for entry in entries:
            index = bisect_left(starts, entry.start)
            if index == len(parts) or parts[index].end > entry.end or entry.ref is None:
                continue
            words = " ".join(paper.text[parts[index].start : parts[index].end].split())
            if kind == "bibtitle":
                found[entry.ref] = _first_words(words, TITLE_WORDS)
            elif entry.ref in found:
                found[entry.ref] += ", " + words
    return found


def _captions(paper: Paper) -> dict[str, str]:
    """The beginning of the caption of each figure and table: to its first stop when it is long, then 12 words."""
    captions = [span for span in paper.spans if span.kind == "figurecaption"]
    found = {}
    for figure in paper.spans:
        if figure.kind != "figure" or figure.ref is None:
            continue
        inside = [caption for caption in captions if figure.start <= caption.start and caption.end <= figure.end]
        if inside:
            words = " ".join(paper.text[inside[0].start : inside[0].end].split())
            short = re.split(r"[.;:()]", words, maxsplit=1)[0] if len(words) > LONG_CAPTION else words
            found[figure.ref] = _first_words(short, TITLE_WORDS)
    return found


def _first_words(text: str, count: int) -> str:
    words = text.split()
    return " ".join(words[:count]) + ("..." if len(words) > count else "")


def meditron_layout(pieces: list[Piece]) -> str:
    """`#` before main headers and `##` before others, bullets as `-`, captions tagged, the title on top."""
    lines = []
    for piece in pieces:
        text = BULLET.sub("- ", piece.text)
        if piece.kind == "title":
            lines.append("# " + text)
        elif piece.kind == "header":
            name = text[:1].upper() + text[1:].lower()
            main = len(text.split()) <= MAIN_HEADER_WORDS and any(stem in name.lower() for stem in MAIN_HEADERS)
            lines.append(("# " if main else "## ") + name)
        elif piece.kind == "caption":
            tag = "table" if text.lower().startswith("tab") else "fig"
            lines.append(f"[{tag}] {text} [/{tag}]")
        else:
            lines.append(text)
    return "\n\n".join(lines)
