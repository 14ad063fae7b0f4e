"""Marks in place of citations, one for each, and one for a bracket, or a part of one, that holds nothing else."""

import re

from pmc_llama.corpus.paper import Span
from pmc_llama.corpus.pieces import Piece
from pmc_llama.corpus.rules import visible

SIGN = "\ue000"
FIRST_MARK, FIRST_GROUP, LAST = 0xE001, 0xF400, 0xF8FF
"""A mark in a text is SIGN, which is found fast, and a character of private use, another for each citation; those from
FIRST_GROUP on stand for a bracket, or a part of one, that holds nothing but citations."""
MAX_CITATIONS = 500
"""In one paragraph; more stay as they are."""
MARKS = [SIGN + chr(number) for number in range(FIRST_MARK, FIRST_GROUP)]
GROUP_MARKS = [SIGN + chr(number) for number in range(FIRST_GROUP, LAST + 1)]
CITED, ANY = "\ue001-\uf3ff", "\ue000-\uf8ff"
ZERO_WIDTH = "\u00ad\u200b\u200e\u200f\ufeff"
MARK = re.compile(f"{SIGN}[{ANY}]")
DASH = r"\u2010-\u2015\u2212\-"
LEADS = (
    r"and|or|see|also|e\.?g|i\.?e|cf|refs?|references?|reviewed|reviews?|for|in|by|a|an|the|as|therein|example|instance"
    r"|among|others|to|through|with|from|of|recently|but|ibid|respectively|more|further|details?|information"
    r"|discussion|overview"
)
_FILLER = rf"[\s,;:&/.*+'’{DASH}{ANY}]|\b(?i:{LEADS})\b|\bpp?\.?\s*\d+(?:[{DASH}]\d+)?"
ONLY_MARKS = re.compile(rf"[\s,;&{DASH}{ANY}]*")
ONLY_CITATIONS = re.compile(rf"(?:{_FILLER})*")
ONLY_NAMES = re.compile(
    rf"(?:{_FILLER}|\b(?:et|al|de|del|di|da|du|dos|la|le|van|von|der|den|und)\b|\b[A-ZÀ-ÖØ-ÞĀ-Ž][\w'’]*"
    rf"|\b(?:1[89]|20)\d\d[a-z]?\b|\b[a-z]\b)*"
)
NO_NAMES = re.compile(r"\b(?:Fig|Tab|Eq|Supp|Box|Panel|Section|Chapter)")
YEAR = re.compile(r"(?:1[89]|20)\d\d\s?[a-z]?(?:[\s,/&and]+(?:(?:1[89]|20)\d\d)?[a-z]?)*|n\.\s?d\.?")
SUBJECT = re.compile(
    rf"\s*((?:[^:,;{ANY}]{{2,60}}):(?=\s*[A-Z{SIGN}])|(?:[A-Z]{{2}}[A-Z\d-]{{0,12}}|[A-Z][A-Z\d]*-[A-Z\d]+),(?=\s*[A-Z]\w*[a-z])"
    rf"|[A-Z]{{2}}[A-Z\d-]{{0,12}}(?={SIGN}))"
)
"""What a source is cited for, before its names: `BDI-II, Beck et al., 1996`, `in mice: Lee, 2001`."""
NAMED = re.compile(r"\bet al\b|[A-Z].*\b(?:1[89]|20)\d\d[a-z]?\b")
RANGE_END = re.compile(rf"(?<=[{CITED}][{DASH}])\d{{1,3}}\b|\b\d{{1,3}}(?=[{DASH}]{SIGN})")
NUMBER = re.compile(r"\b\d{1,3}\b")
BRACKET = re.compile(r"[\[\](){}]")
WORDS = re.compile(r"[^\W\d_]{2}")
CLOSED, COMMAS = frozenset(")]}"), frozenset((", ", ",", "; ", ";", "-", "\u2013", " ", ""))
OPENERS, CLOSERS = "([{", ")]}"


def marks(piece: Piece, spans: list[Span]) -> tuple[str, dict[str, str], set[str], bool]:
    """The text with marks in place of citations, but not of brackets at their ends; what each mark stands for; the
    marks of names and years, which outside brackets are words of the sentence; and whether no bracket is left to look
    at, as one mark stands already for each that holds citations and commas alone."""
    source, first = piece.text, piece.start
    source = source.replace(SIGN, " ") if SIGN in source else source
    parts: list[str] = []
    table: dict[str, str] = {}
    narrative: set[str] = set()
    position, number, is_grouped = 0, 0, True
    spans = spans[:MAX_CITATIONS]
    while number < len(spans):
        span = spans[number]
        number += 1
        start, end = span.start - first, span.end - first
        if start < position:
            continue
        if start > position and source[start - 1] in OPENERS:
            beyond, stop = _whole_bracket(source, spans, number, end, first)
            if stop and not BRACKET.search(source, start, stop):
                before = source[position : start - 1]
                is_grouped = is_grouped and not _is_open(before)
                parts += (before, _group(source[start - 1 : stop + 1], table))
                number, position = beyond, stop + 1
                continue
        start, inner = _stripped(source, start, end)
        if not inner:
            continue
        is_grouped = False
        mark = MARKS[len(table)]
        parts += (source[position:start], mark)
        position = start + len(inner)
        table[mark] = inner
        if (len(inner) > 3 or not inner.isdigit()) and (WORDS.search(inner) or YEAR.fullmatch(inner)):
            narrative.add(mark)
    parts.append(source[position:])
    marked = "".join(parts)
    if not source.isascii() and any(map(source.__contains__, ZERO_WIDTH)):
        marked = visible(marked)
    return marked, table, narrative, is_grouped


def _whole_bracket(source: str, spans: list[Span], number: int, end: int, first: int) -> tuple[int, int]:
    """Of a citation behind an opening bracket that ends at `end`: which citation is the first behind the bracket, and
    where the bracket closes; 0, 0 where it holds more than citations and what parts them."""
    while True:
        if source[end : end + 1] in CLOSED:
            return number, end
        if number == len(spans) or source[end : spans[number].start - first] not in COMMAS:
            return 0, 0
        end = spans[number].end - first
        number += 1


def _stripped(source: str, start: int, end: int) -> tuple[int, str]:
    """Where a citation begins and its words, without brackets and commas at its ends."""
    words = source[start:end]
    inner = words if words.isalnum() else words.strip("[](){} ,;")
    if inner is words or not inner:
        return start, inner
    lead = words.index(inner)
    return start + lead, _closed(inner, words[lead + len(inner) :]) if "(" in inner or "[" in inner else inner


def _closed(inner: str, behind: str) -> str:
    """The words of a citation with the bracket that closes one in them."""
    for opener, closer in ("()", "[]"):
        if inner.count(opener) > inner.count(closer) and behind[:1] == closer:
            inner += closer
    return inner


def told(marked: str, table: dict[str, str], narrative: set[str]) -> str:
    """The text with the words of names and years that no bracket holds in place of their marks."""
    head, *rest = marked.split(SIGN)
    for place, part in enumerate(rest):
        mark = SIGN + part[0]
        rest[place] = table[mark] + part[1:] if mark in narrative else SIGN + part
    return head + "".join(rest)


def grouped(marked: str, table: dict[str, str]) -> str:
    """Brackets that hold nothing but citations, or such parts of a bracket, become one mark; from the inside out."""
    for _ in range(3):
        parts: list[str] = []
        position, nested, at = 0, False, marked.find(SIGN)
        while at >= 0:
            opener = _last(OPENERS, marked, position, at)
            bracket = BRACKET.search(marked, at) if opener > _last(CLOSERS, marked, position, at) else None
            if bracket is None or bracket.group() in OPENERS:
                nested = nested or bracket is not None
                at = marked.find(SIGN, bracket.start() if bracket else at + 2)
                continue
            before = marked[position:opener]
            nested = nested or _is_open(before)
            parts += (before, _bracket(marked[opener : bracket.end()], table))
            position = bracket.end()
            at = marked.find(SIGN, position)
        if not parts:
            break
        parts.append(marked[position:])
        marked = "".join(parts)
        if not nested:
            break
    return marked


def _is_open(text: str) -> bool:
    """Whether a bracket opens and does not close."""
    opener = max(text.rfind("("), text.rfind("["))
    return opener >= 0 and text.find(")", opener) < 0 and text.find("]", opener) < 0


def _last(brackets: str, text: str, start: int, end: int) -> int:
    """Where the last of these brackets stands, -1 for none; braces are left to the text."""
    return max(text.rfind(brackets[0], start, end), text.rfind(brackets[1], start, end))


def _bracket(text: str, table: dict[str, str]) -> str:
    """What takes the place of a bracket with marks and without another one in it."""
    if ONLY_MARKS.fullmatch(text, 1, len(text) - 1):
        return _group(text, table)
    items = text[1:-1].split(";")
    cites = [_is_citation(item, text[0] == "[", table) for item in items]
    subjects = [_subject(item) if cited else "" for item, cited in zip(items, cites, strict=True)]
    if all(cites) and not any(subjects):
        return _group(text, table)
    for place, item in enumerate(items):
        if cites[place] and SIGN in item:
            rest = item[len(subjects[place]) :]
            lead = subjects[place] or rest[: len(rest) - len(rest.lstrip())]
            items[place] = lead.rstrip(",:") + _group(rest.strip(), table)
    return text[0] + ";".join(items) + text[-1]


def _subject(item: str) -> str:
    """The beginning of a citation that is no part of it; mostly empty."""
    match = SUBJECT.match(item)
    return match.group() if match is not None and not ONLY_CITATIONS.fullmatch(match.group()) else ""


def _group(text: str, table: dict[str, str]) -> str:
    """One mark for a text with marks; the text itself where no more marks are left."""
    if len(table) >= len(GROUP_MARKS):
        return text
    mark = GROUP_MARKS[len(table)]
    table[mark] = text
    return mark


def _is_citation(item: str, square: bool, table: dict[str, str]) -> bool:
    """Whether a part of a bracket is nothing but citations with author names, years and words such as "see"."""
    cited = [table[mark] for mark in MARK.findall(item)]
    named = any(_is_narrative(words) for words in cited if words[0] not in OPENERS)
    plain = (NUMBER if square and not named else RANGE_END).sub("", item)
    if ONLY_CITATIONS.fullmatch(plain):
        return True
    return bool((named or NAMED.search(item)) and ONLY_NAMES.fullmatch(plain) and not NO_NAMES.search(item))


def _is_narrative(words: str) -> bool:
    """Whether a citation is names or a year."""
    return bool(WORDS.search(words) or YEAR.fullmatch(words))


def restored(text: str, table: dict[str, str]) -> str:
    """The text with what its marks stand for."""
    while SIGN in text:  # a group may hold groups
        text = MARK.sub(lambda match: table[match.group()], text)
    return text
