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
BLANKS = re.compile(r"\s*")
SEPARATORS = re.compile(r"[\s,;:]*")
CONTEXT_CHARS = 40
"""So much of the text before a citation says whether the sentence needs it."""
LOOSE = " ,;:-\u2010\u2011\u2012\u2013\u2014\u2015"
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
    for piece in pieces:
        end = piece.start + len(piece.text)
        inside = spans[bisect_left(starts, piece.start) : bisect_left(starts, end)]
        if inside and piece.kind != "title":
            marked, table, narrative = _marked(piece, inside)
            marked = _brackets_grouped(marked, table)
            for mark in narrative:
                marked = marked.replace(mark, table[mark])
            piece.text = _resolved(marked, table, tag)
    return pieces


def _marked(piece: Piece, spans: list[Span]) -> tuple[str, dict[str, str], list[str]]:
    """The text with marks in place of citations, but not of brackets at their ends; what each mark stands for; and the
    marks of names and years, which outside brackets are words of the sentence."""
    source = piece.text.replace(SIGN, " ")
    parts: list[str] = []
    table: dict[str, str] = {}
    narrative: list[str] = []
    position = 0
    for span in spans[:MAX_CITATIONS]:
        start, end = span.start - piece.start, min(span.end - piece.start, len(source))
        if start < position:
            continue
        words = source[start:end]
        inner = words.strip("[](){} ,;")
        if not inner:
            continue
        lead = 0 if inner == words else words.index(inner)
        for opener, closer in ("()", "[]") if "(" in inner or "[" in inner else ():
            if (
                opener in inner
                and inner.count(opener) > inner.count(closer)
                and words[lead + len(inner) :][:1] == closer
            ):
                inner += closer
        mark = SIGN + chr(FIRST_MARK + len(table))
        parts += [source[position : start + lead], mark]
        position = start + lead + len(inner)
        table[mark] = inner
        if not inner.isdigit() or len(inner) > 3:
            narrative += [mark] if _is_narrative(inner) else []
    parts.append(source[position:])
    marked = "".join(parts)
    if not source.isascii() and any(map(source.__contains__, ZERO_WIDTH)):
        marked = INVISIBLE.sub("", marked)
    return marked, table, narrative


def _brackets_grouped(marked: str, table: dict[str, str]) -> str:
    """Brackets that hold nothing but citations, or such parts of a bracket, become one mark; from the inside out."""
    for _ in range(3):
        parts, position, nested, at = [], 0, False, marked.find(SIGN)
        while at >= 0:
            whole = WHOLE.match(marked, at) if at > position and marked[at - 1] in OPENERS else None
            if whole is not None:  # most are like this
                opener, end = at - 1, whole.end()
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
            if not nested and ("(" in before or "[" in before):
                nested = _last(OPENERS, before, 0, opener) > _last(CLOSERS, before, 0, opener)
            parts += [before, text]
            position = end
            at = marked.find(SIGN, position)
        if not parts:
            break
        marked = "".join([*parts, marked[position:]])
        if not nested:
            break
    return marked


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
    if len(table) > LAST - FIRST_GROUP:
        return text
    mark = SIGN + chr(FIRST_GROUP + len(table))
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
        text = marked[position : match.start()]
        while parts and len(text) < CONTEXT_CHARS:
            text = parts.pop() + text
        position = match.end()
        if tag:
            parts.append(text + tag)
            continue
        bare = table[marked[match.start() : match.start() + 2]][0] not in OPENERS
        goes_on = _end_of(BLANKS, marked, position) if marked[position : position + 1].isspace() else position
        following = marked[goes_on : goes_on + 1]
        ends = not following or (following in ".,;:!?)]}" and not marked[goes_on + 1 : goes_on + 2].isdigit())
        if _is_needed(text, bare, following, ends):
            raised = bare and text[-1:].strip() not in ("", *OPENERS)
            source = _restored(match.group(), table)
            parts.append(f"{text} [{source}]" if raised else text + source)
        elif text.endswith(OPENER) and following not in (".", ""):
            position = _end_of(SEPARATORS, marked, position)
            parts.append(text)
        elif ends:
            text, position = _closed_up(text, following, goes_on)
            parts.append(text)
        else:
            before = text.rstrip()
            apart = following.isalnum() or following in OPENERS or (len(before) < len(text) and following not in JOINTS)
            apart = apart or goes_on > position
            parts.append(before + " " if apart and before else before)
            position = goes_on
    return "".join([*parts, marked[position:]])


def _is_needed(text: str, bare: bool, following: str, ends: bool) -> bool:
    """Whether the sentence does not stand without a citation: it is the noun after a preposition, or the subject."""
    before = text.rstrip()
    raised = len(before) == len(text) > 0 and bare  # a number set above the line
    last = before[before.rfind(" ") + 1 :].lstrip(OPENERS).lower()
    if last in LEANING or (last == "also" and before[-8:-5].lower() == "see"):
        return ends or not raised
    if before.endswith(ET_AL) and before.rstrip(".,")[-6:].split()[-2:] == ["et", "al"]:
        return ends and following != ","
    is_start = not before or before[-1] in OPENERS or (before[-1] in ".!?:" and not raised)
    return is_start and not raised and following.islower()


def _closed_up(text: str, following: str, goes_on: int) -> tuple[str, int]:
    """The text before a run at the end of a clause, without what belonged to the run, and where it goes on."""
    before = text.rstrip().rstrip(LOOSE_AT_STOP if following in (".", "") else LOOSE)
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
