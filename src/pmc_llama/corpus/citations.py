"""Citations: a run of them with its separators, brackets and names is one unit, removed where the sentence stands."""

import re
from bisect import bisect_left

from pmc_llama.corpus.paper import Paper, Span
from pmc_llama.corpus.rules import INVISIBLE, Piece

CITED, GROUP = "\ue000", "\ue001"
"""Marks in a text: a citation, and a bracket (or a part of one) that holds nothing but citations."""
MARK = re.compile(f"[{CITED}{GROUP}]")
DASH = r"\u2010-\u2015\u2212\-"
LEADS = (
    r"and|or|see|also|e\.?g|i\.?e|cf|refs?|references?|reviewed|reviews?|for|in|by|a|an|the|as|therein|example|instance"
    r"|among|others|to|through|with|from|of|recently|but|ibid|respectively|more|further|details?|information"
    r"|discussion|overview"
)
_FILLER = rf"[\s,;:&/.*+'’{DASH}{CITED}{GROUP}]|\b(?i:{LEADS})\b|\bpp?\.?\s*\d+(?:[{DASH}]\d+)?"
ONLY_MARKS = re.compile(rf"[\s,;&{DASH}{CITED}{GROUP}]*")
ONLY_CITATIONS = re.compile(rf"(?:{_FILLER})*")
ONLY_NAMES = re.compile(
    rf"(?:{_FILLER}|\b(?:et|al|de|del|di|da|du|dos|la|le|van|von|der|den|und)\b|\b[A-ZÀ-ÖØ-ÞĀ-Ž][\w'’]*"
    rf"|\b(?:1[89]|20)\d\d[a-z]?\b|\b[a-z]\b)*"
)
NO_NAMES = re.compile(r"\b(?:Fig|Tab|Eq|Supp|Box|Panel|Section|Chapter)")
YEAR = re.compile(r"(?:1[89]|20)\d\d\s?[a-z]?(?:[\s,/&and]+(?:(?:1[89]|20)\d\d)?[a-z]?)*")
NAMED = re.compile(r"\bet al\b|[A-Z].*\b(?:1[89]|20)\d\d[a-z]?\b")
RANGE_END = re.compile(rf"(?<=[{CITED}][{DASH}])\d{{1,3}}\b|\b\d{{1,3}}(?=[{DASH}][{CITED}])")
NUMBER = re.compile(r"\b\d{1,3}\b")
BRACKET = re.compile(rf"[\[({{][^\[\](){{}}{CITED}{GROUP}]*[{CITED}{GROUP}][^\[\](){{}}]*[\])}}]")
RUN = re.compile(
    rf"[{CITED}{GROUP}](?:[\s,;&/{DASH}]*(?:\b(?:and|or|to|through)\b[\s,]+)?[{CITED}{GROUP}])*"
    rf"(?:(?<={CITED})[{DASH}]\d{{1,3}}(?![\w{DASH}]|\.\d))?"
)
WORDS = re.compile(r"[^\W\d_]{2}")
LEANING = frozenset(
    [
        "in",
        "by",
        "from",
        "of",
        "to",
        "with",
        "at",
        "on",
        "for",
        "per",
        "via",
        "see",
        "cf",
        "cf.",
        "e.g",
        "e.g.",
        "e.g.,",
        "eg",
        "eg,",
        "i.e",
        "i.e.",
        "i.e.,",
        "than",
        "as",
        "ref",
        "ref.",
        "refs",
        "refs.",
        "reference",
        "references",
        "under",
        "between",
        "into",
        "using",
        "like",
        "unlike",
        "against",
        "among",
        "and",
        "or",
        "but",
        "nor",
        "both",
        "either",
        "is",
        "are",
        "was",
        "were",
        "be",
        "the",
        "a",
        "an",
        "no.",
        "nos.",
        "citation",
        "citations",
    ]
)
"""Words after which a citation is the noun."""
ET_AL = ("al", "al.", "al.,", "al,")
BLANKS = re.compile(r"\s*")
SEPARATORS = re.compile(r"[\s,;:]*")
CONTEXT_CHARS = 40
"""So much of the text before a citation says whether the sentence needs it."""
LOOSE = " ,;:-\u2010\u2011\u2012\u2013\u2014\u2015"
OPENERS, CLOSERS = "([{", ")]}"


def citations(paper: Paper, pieces: list[Piece], mode: str) -> list[Piece]:
    """`drop` citations with their brackets, `tag` them as [citation], or `keep` them.

    In all modes a citation that is part of the sentence ("Smith et al. showed") stays; so does one under `drop`
    without which the sentence would not stand ("as described in [8].").
    """
    spans = [span for span in paper.spans if span.kind == "bibref"]
    if mode == "keep" or not spans:
        return pieces
    starts = [span.start for span in spans]
    tag = "[citation]" if mode == "tag" else ""
    for piece in pieces:
        end = piece.start + len(piece.text)
        inside = spans[bisect_left(starts, piece.start) : bisect_left(starts, end)]
        if inside and piece.kind != "title":
            marked, words = _narrative_restored(*_brackets_grouped(*_marked(piece, inside)))
            piece.text = _resolved(marked, words, tag)
    return pieces


def _marked(piece: Piece, spans: list[Span]) -> tuple[str, list[str]]:
    """The text with a mark in place of each citation, but not of brackets at its ends; and what stood there."""
    source = MARK.sub(" ", piece.text)
    has_invisible = not source.isprintable()
    parts, cited, position = [], [], 0
    for span in spans:
        start, end = span.start - piece.start, min(span.end - piece.start, len(source))
        if start < position:
            continue
        words = source[start:end]
        inner = words.strip("[](){} ,;")
        if not inner:
            continue
        lead = words.index(inner)
        for opener, closer in ("()", "[]"):
            if inner.count(opener) > inner.count(closer) and words[lead + len(inner) :][:1] == closer:
                inner += closer
        parts += [source[position : start + lead], CITED]
        position = start + lead + len(inner)
        cited.append(inner)
    marked = "".join([*parts, source[position:]])
    return INVISIBLE.sub("", marked) if has_invisible else marked, cited


def _brackets_grouped(marked: str, words: list[str]) -> tuple[str, list[str]]:
    """Brackets that hold nothing but citations, or such parts of a bracket, become one mark; from the inside out."""
    for _ in range(3):
        parts, kept, position, used, nested = [], [], 0, 0, False
        for match in BRACKET.finditer(marked):
            outside, inside = _marks_in(marked[position : match.start()]), _marks_in(match.group())
            kept += words[used : used + outside]
            used += outside
            text, originals, whole = _bracket(match.group(), words[used : used + inside])
            used += inside
            nested = nested or whole
            parts += [marked[position : match.start()], text]
            kept += originals
            position = match.end()
        marked, words = "".join([*parts, marked[position:]]), kept + words[used:]
        if not nested or BRACKET.search(marked) is None:
            break
    return marked, words


def _bracket(text: str, words: list[str]) -> tuple[str, list[str], bool]:
    """A bracket with marks: what takes its place, what its marks stand for, and whether it went as a whole."""
    if ONLY_MARKS.fullmatch(text, 1, len(text) - 1) or ONLY_CITATIONS.fullmatch(text, 1, len(text) - 1):
        return GROUP, [_restored(text, words)], True
    numeric = text[0] == "[" and not any(WORDS.search(word) for word in words)
    items, kept, used, whole = [], [], 0, True
    for item in text[1:-1].split(";"):
        cited = words[used : used + _marks_in(item)]
        used += len(cited)
        if _is_citation(item, cited, numeric):
            blank = item[: len(item) - len(item.lstrip())]
            items.append(blank + GROUP if cited else item)
            kept += [_restored(item.strip(), cited)] if cited else []
            whole = whole and True
        else:
            items.append(item)
            kept += cited
            whole = False
    if whole:
        return GROUP, [_restored(text, words)], True
    return text[0] + ";".join(items) + text[-1], kept, False


def _is_citation(item: str, cited: list[str], numeric: bool) -> bool:
    """Whether a part of a bracket is nothing but citations with author names, years and words such as "see"."""
    plain = (NUMBER if numeric else RANGE_END).sub("", item)
    if ONLY_CITATIONS.fullmatch(plain):
        return True
    named = any(YEAR.fullmatch(one) or WORDS.search(one) for one in cited) or NAMED.search(item)
    return bool(named and ONLY_NAMES.fullmatch(plain) and not NO_NAMES.search(item))


def _narrative_restored(marked: str, words: list[str]) -> tuple[str, list[str]]:
    """Names and years that stand in the sentence without brackets are words of it."""
    if not any(WORDS.search(word) or YEAR.fullmatch(word) for word in words):
        return marked, words
    rest, left = iter(words), []

    def back(match: re.Match[str]) -> str:
        word = next(rest)
        if match.group() == CITED and (WORDS.search(word) or YEAR.fullmatch(word)):
            return word
        left.append(word)
        return match.group()

    return MARK.sub(back, marked), left


def _resolved(marked: str, words: list[str], tag: str) -> str:
    """Remove or tag the runs of marks; those that the sentence needs become text again."""
    parts, position, used = [], 0, 0
    for match in RUN.finditer(marked):
        count = _marks_in(match.group())
        source = (
            words[used] if count == 1 == len(match.group()) else _restored(match.group(), words[used : used + count])
        )
        used += count
        text = marked[position : match.start()]
        while parts and len(text) < CONTEXT_CHARS:
            text = parts.pop() + text
        position = match.end()
        if tag:
            text += tag
        elif _is_needed(text, source, marked, position):
            raised = text[-1:].strip() not in ("", *OPENERS) and source[0] not in OPENERS
            text += f" [{source}]" if raised else source
        else:
            text, position = _closed_up(text, marked, position)
        parts.append(text)
    return "".join([*parts, marked[position:]])


def _is_needed(text: str, source: str, marked: str, position: int) -> bool:
    """Whether the sentence does not stand without a citation: it is the noun after a preposition, or the subject."""
    before, following, ends = text.rstrip(), marked[position : position + 20].lstrip()[:2], _ends(marked, position)
    raised = bool(text) and not text[-1].isspace() and source[0] not in OPENERS  # a number set above the line
    if before[before.rfind(" ") + 1 :].lstrip(OPENERS).lower() in LEANING:
        return ends or not raised
    if before[-4:].endswith(ET_AL) and before.rstrip(".,")[-5:].split()[-2:-1] == ["et"]:
        return ends and following[:1] != ","
    is_start = not before or before[-1] in OPENERS or (before[-1] in ".!?:" and text[-1].isspace())
    return is_start and not raised and following[:1].islower()


def _ends(marked: str, position: int) -> bool:
    """Whether a clause, a bracket or the text ends here."""
    following = marked[position : position + 20].lstrip()[:2]
    return not following or (following[0] in ".,;:!?)]}" and not following[1:].isdigit())


def _closed_up(text: str, marked: str, position: int) -> tuple[str, int]:
    """The text before a removed run, and where it goes on, without blanks and separators that belonged to the run."""
    before, goes_on = text.rstrip(), _end_of(BLANKS, marked, position)
    following = marked[goes_on : goes_on + 1]
    if before[-1:] and before[-1] in OPENERS and following not in (".", ""):
        return before, _end_of(SEPARATORS, marked, position)
    if _ends(marked, position):
        before = before.rstrip(LOOSE + (OPENERS if following in (".", "") else ""))
        if before[-1:] and before[-1] in OPENERS and following and following in CLOSERS:
            return before[:-1].rstrip(), goes_on + 1
        return before, goes_on + 1 if following == "." and before[-1:] in (".", "?", "!") else goes_on
    apart = goes_on > position or len(before) < len(text) or (following.isalnum() or following in OPENERS)
    return before + (" " if apart and before else ""), goes_on


def _end_of(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def _marks_in(text: str) -> int:
    return text.count(CITED) + text.count(GROUP)


def _restored(text: str, words: list[str]) -> str:
    rest = iter(words)
    return MARK.sub(lambda match: next(rest), text)
