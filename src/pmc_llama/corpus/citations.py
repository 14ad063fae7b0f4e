"""Citations: a run of them with its separators, brackets and names is one unit, removed where the sentence stands."""

import re
from bisect import bisect_left

from pmc_llama.corpus.paper import Paper, Span
from pmc_llama.corpus.pieces import Piece, rule
from pmc_llama.corpus.rules import INVISIBLE
from pmc_llama.recipe.corpus import CleanSection

SIGN = "\ue000"
FIRST_MARK, FIRST_GROUP, LAST = 0xE001, 0xF400, 0xF8FF
"""A mark in a text is SIGN, which is found fast, and a character of private use, another for each citation; those from
FIRST_GROUP on stand for a bracket, or a part of one, that holds nothing but citations."""
MAX_CITATIONS = 500
"""In one paragraph; more stay as they are."""
MARKS = [SIGN + chr(FIRST_MARK + number) for number in range(MAX_CITATIONS)]
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
    rf"\s*((?:[^:,;{ANY}]{{2,60}}):(?=\s*[A-Z{SIGN}])|(?:[A-Z]{{2}}[A-Z\d-]{{0,6}}|[A-Z][A-Z\d]*-[A-Z\d]+),(?=\s*[A-Z]\w*[a-z]))"
)
"""What a source is cited for, before its names: `BDI-II, Beck et al., 1996`, `in mice: Lee, 2001`."""
NAMED = re.compile(r"\bet al\b|[A-Z].*\b(?:1[89]|20)\d\d[a-z]?\b")
RANGE_END = re.compile(rf"(?<=[{CITED}][{DASH}])\d{{1,3}}\b|\b\d{{1,3}}(?=[{DASH}]{SIGN})")
NUMBER = re.compile(r"\b\d{1,3}\b")
WHOLE = re.compile(rf"{SIGN}[{ANY}](?:[\s,;&{DASH}]*{SIGN}[{ANY}])*[\])}}]")
BRACKET = re.compile(r"[\[\](){}]")
RUN = re.compile(
    rf"{SIGN}[{ANY}](?:[\s,;&/{DASH}]*(?:\b(?:and|or|to|through)\b[\s,]+)?{SIGN}[{ANY}])*"
    rf"(?:(?<=[{CITED}])[{DASH}]\d{{1,3}}(?![\w{DASH}]|\.\d))?"
)
WORDS = re.compile(r"[^\W\d_]{2}")
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
OPENERS, CLOSERS = "([{", ")]}"
OPENER, LOOSE_AT_STOP = tuple(OPENERS), LOOSE + OPENERS


@rule("citations", version=2)
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
        marked, table, narrative = _marked(piece, inside)
        marked = _brackets_grouped(marked, table)
        if narrative:
            marked = _told(marked, table, narrative)
        piece.text = _resolved(marked, table, tag)
    return pieces


def _marked(piece: Piece, spans: list[Span]) -> tuple[str, dict[str, str], set[str]]:
    """The text with marks in place of citations, but not of brackets at their ends; what each mark stands for; and the
    marks of names and years, which outside brackets are words of the sentence."""
    source, first = piece.text, piece.start
    source = source.replace(SIGN, " ") if SIGN in source else source
    parts: list[str] = []
    table: dict[str, str] = {}
    narrative: set[str] = set()
    position = 0
    for span, mark in zip(spans, MARKS, strict=False):
        start = span.start - first
        if start < position:
            continue
        words = source[start : span.end - first]
        inner = words if words.isalnum() else words.strip("[](){} ,;")
        if not inner:
            continue
        if inner is not words:
            lead = words.index(inner)
            inner = _closed(inner, words[lead + len(inner) :]) if "(" in inner or "[" in inner else inner
            start += lead
        parts.append(source[position:start])
        parts.append(mark)
        position = start + len(inner)
        table[mark] = inner
        if (len(inner) > 3 or not inner.isdigit()) and (WORDS.search(inner) or YEAR.fullmatch(inner)):
            narrative.add(mark)
    parts.append(source[position:])
    marked = "".join(parts)
    if not source.isascii() and any(map(source.__contains__, ZERO_WIDTH)):
        marked = INVISIBLE.sub("", marked)
    return marked, table, narrative


def _closed(inner: str, behind: str) -> str:
    """The words of a citation with the bracket that closes one in them."""
    for opener, closer in ("()", "[]"):
        if inner.count(opener) > inner.count(closer) and behind[:1] == closer:
            inner += closer
    return inner


def _told(marked: str, table: dict[str, str], narrative: set[str]) -> str:
    """The text with the words of names and years that no bracket holds in place of their marks."""
    head, *rest = marked.split(SIGN)
    for place, part in enumerate(rest):
        mark = SIGN + part[0]
        rest[place] = table[mark] + part[1:] if mark in narrative else SIGN + part
    return head + "".join(rest)


def _brackets_grouped(marked: str, table: dict[str, str]) -> str:
    """Brackets that hold nothing but citations, or such parts of a bracket, become one mark; from the inside out."""
    for _ in range(3):
        parts: list[str] = []
        position, nested, at = 0, False, marked.find(SIGN)
        while at >= 0:
            opener = at - 1
            whole = WHOLE.match(marked, at) if opener >= position and marked[opener] in OPENERS else None
            if whole is not None:  # most are like this
                end = whole.end()
                text = _group(marked[opener:end], table)
            else:
                opener = _last(OPENERS, marked, position, at)
                bracket = BRACKET.search(marked, at) if opener > _last(CLOSERS, marked, position, at) else None
                if bracket is None or bracket.group() in OPENERS:
                    nested = nested or bracket is not None
                    at = marked.find(SIGN, bracket.start() if bracket else at + 2)
                    continue
                end = bracket.end()
                text = _bracket(marked[opener:end], table)
            before = marked[position:opener]
            nested = nested or _is_open(before)
            parts.append(before)
            parts.append(text)
            position = end
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
    named = any(map(_is_narrative, cited))
    plain = (NUMBER if square and not named else RANGE_END).sub("", item)
    if ONLY_CITATIONS.fullmatch(plain):
        return True
    return bool((named or NAMED.search(item)) and ONLY_NAMES.fullmatch(plain) and not NO_NAMES.search(item))


def _is_narrative(words: str) -> bool:
    """Whether a citation is names or a year."""
    return bool(WORDS.search(words) or YEAR.fullmatch(words))


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
            source = _restored(match.group(), table)
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


def _restored(text: str, table: dict[str, str]) -> str:
    while SIGN in text:  # a group may hold groups
        text = MARK.sub(lambda match: table[match.group()], text)
    return text
