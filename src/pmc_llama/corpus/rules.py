"""The cleaning rules: each takes the pieces of a paper and returns what it leaves of them."""

import re
import unicodedata
from collections import Counter

from pmc_llama.corpus.paper import Paper
from pmc_llama.corpus.pieces import Piece, rule

_BACK_NAME = (
    r"(?:acknowledge?ments?|funding|financial (?:support|disclosures?)|grant support"
    r"|sources? of (?:funding|support|financial support)"
    r"|(?:(?:declarations?|statements?) of |potential )?(?:competing|conflicts?(?: of)?|conflicting|financial)"
    r" (?:\w+ )?interests?"
    r"|conflicts of interest|disclosures?|(?:author|authors|author's|authors') ?contributions?"
    r"|contributors(?:hip)?|author information|authors' information|transparency document"
    r"|(?:data|code)(?: and \w+)? (?:availability|accessibility)|availability of (?:data|supporting data|materials?)"
    r"|(?:electronic )?supplement(?:ary|al) (?:data|materials?|information|files?)|supporting information"
    r"|additional (?:files?|information)|appendi(?:x|ces)|references|bibliography|literature cited|publisher's note"
    r"|pre-publication history)"
)
_BACK_TAIL = (
    r"(?:[ /](?:statements?|sources?|information|support|declarations?|notes?|sections?|and \w+|[a-z0-9]{1,3}"
    r"|(?<=references )(?:and|cited) .*|(?<=appendix )\w+))*"
)
BACK_MATTER = re.compile(
    rf"{_BACK_NAME}{_BACK_TAIL}(?:(?:,| and| &|/|;) ?{_BACK_NAME}{_BACK_TAIL})*[ .:]*|appendi(?:x|ces)\b[ .:\d].*"
    r"|additional files? \d.*|funding for travel .*"
    r"|supplement(?:ary|al) (?:materials?|information|data(?:sets?)?|files?|figures?|tables?)"
    r"(?: (?:figures?|tables?|and|files?|[a-z]?\d+))*[ .:]*"
)
"""The whole of a heading: "Disclosure of HIV status to partners" is a chapter."""
BACK_MATTER_WORDS = 8
HEADER_NUMBER = re.compile(r"\s*(?:[ivx]+\.|[a-z]\.|\d+(?:\.\d+)*\.?)\s+")
INVISIBLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\ufeff\ufffe\uffff]"
    r"|(?<![\u0590-\u1fff\ufe0f\U0001f000-\U0001ffff])[\u200c\u200d]"
)
"""Joiners and non-joiners stay where they shape what is written: in Persian, in scripts of India, in emoji."""
SOFT_DASH = re.compile(r"(?<![^\s\d(])\u00ad(?=\d)")
"""A soft hyphen before a number is the dash of a range or a minus."""
WORD = re.compile(r"[A-Za-z][a-z]+$")
PES2O_MIN_WORDS, PES2O_MAX_WORDS = 500, 50_000
PES2O_MIN_YEAR = 1970
PES2O_MIN_PARAGRAPHS = 5
PES2O_TOP_WORD_SHARE = 0.075
SENTENCE_ENDS = ".?!…。！？．"
CLOSING = "\"'”’»›)]」』）】"
CONTROLS = bytes([*range(32), 127])
LINE_HYPHEN = re.compile(r"(?<=[a-z])-\n\s*(?=[a-z])")


@rule("back_matter", version=1)
def without_back_matter(pieces: list[Piece]) -> list[Piece]:
    """Drop acknowledgements, funding, competing interests, data availability, appendices … with all below them."""
    kept = []
    dropping: Piece | None = None
    for piece in pieces:
        if piece.kind == "header" and (dropping is None or not _is_below(piece, dropping)):
            dropping = piece if _is_back_matter(piece.text) else None
        if dropping is None or piece.kind == "caption":
            kept.append(piece)
    return kept


def _is_below(header: Piece, other: Piece) -> bool:
    return header.depth is not None and other.depth is not None and header.depth > other.depth


def _is_back_matter(header: str) -> bool:
    name = " ".join(header.replace("’", "'").lower().split())
    number = HEADER_NUMBER.match(name)
    name = name[number.end() :] if number is not None else name
    return BACK_MATTER.fullmatch(name) is not None and len(name.split()) <= BACK_MATTER_WORDS


@rule("rejoin", version=1, cut_paragraphs_only=True)
def rejoin(pieces: list[Piece]) -> list[Piece]:
    """Glue a paragraph to the one before it where a page or column break had cut a sentence in two (as peS2o does)."""
    joined: list[Piece] = []
    for piece in pieces:
        if joined and piece.kind == "paragraph" == joined[-1].kind and _continues(joined[-1].text, piece.text):
            joined[-1].text = joined[-1].text.rstrip() + " " + piece.text.lstrip()
        else:
            joined.append(piece)
    return joined


def _continues(before: str, after: str) -> bool:
    before, after = before.rstrip(), after.strip()
    if not before or not after:
        return False
    opens = before.rfind("(") > before.rfind(")")
    first_close, first_open = after.find(")"), after.find("(")
    closes = first_close >= 0 and (first_open < 0 or first_close < first_open)
    ended = (before.rstrip(CLOSING) or before)[-1] in SENTENCE_ENDS
    return " " not in after or not ended or (opens and closes)


@rule("characters", version=2)
def tidy_text(pieces: list[Piece]) -> list[Piece]:
    """NFC; no control or invisible characters, no hyphens at line ends, single blanks; drop what is empty then."""
    for piece in pieces:
        text = piece.text  # blanks other than " " are not printable
        if not _is_printable(text) or "  " in text or text[:1] == " " or text[-1:] == " ":
            text = _tidy_blanks(text)
        piece.text = text if text.isascii() else unicodedata.normalize("NFC", text)
    return [piece for piece in pieces if piece.text]


def _is_printable(text: str) -> bool:
    """`str.isprintable`, three times as fast where all is ASCII."""
    if not text.isascii():
        return text.isprintable()
    content = text.encode("ascii")
    return len(content.translate(None, CONTROLS)) == len(content)


def _tidy_blanks(text: str) -> str:
    text = LINE_HYPHEN.sub("", text) if "-\n" in text else text
    text = " ".join(text.split())
    return text if text.isprintable() else " ".join(visible(text).split())


def visible(text: str) -> str:
    """The text without control and invisible characters."""
    return INVISIBLE.sub("", SOFT_DASH.sub("-", text))


@rule("empty_headers", version=1)
def without_empty_headers(pieces: list[Piece]) -> list[Piece]:
    """Drop headers that have nothing below them."""
    kept: list[Piece] = []
    followed_by: Piece | None = None
    for piece in reversed(pieces):
        empty = followed_by is None or followed_by.kind == "caption"
        if piece.kind == "header" and followed_by is not None and followed_by.kind == "header":
            empty = piece.depth is not None and not _is_below(followed_by, piece)
        if piece.kind == "header" and empty:
            continue
        kept.append(piece)
        followed_by = piece
    return kept[::-1]


def pes2o_refusal(pieces: list[Piece], paper: Paper) -> str | None:
    """peS2o's gates on length, age, structure and the most frequent word."""
    words = [word for piece in pieces for word in piece.text.split()]
    if len(words) <= PES2O_MIN_WORDS:
        return "too_few_words"
    if len(words) >= PES2O_MAX_WORDS:
        return "too_many_words"
    if paper.year is not None and paper.year < PES2O_MIN_YEAR:
        return "year"
    if sum(piece.kind == "paragraph" for piece in pieces) < PES2O_MIN_PARAGRAPHS:
        return "too_few_paragraphs"
    word, count = Counter(words).most_common(1)[0]
    return "top_word" if count / len(words) > PES2O_TOP_WORD_SHARE or not WORD.match(word) else None


def pes2o_layout(pieces: list[Piece]) -> str:
    """Title and abstract, then each header on the line above its paragraph."""
    lines: list[str] = []
    for piece in pieces:
        lines += [piece.text, "\n" if piece.kind == "header" else "\n\n"]
    return "".join(lines).rstrip("\n")


def layout(pieces: list[Piece]) -> str:
    """Markdown: `#` before the title, `##` and deeper before headers, an empty line between pieces."""
    lines = []
    for piece in pieces:
        if piece.kind == "title":
            lines.append("# " + piece.text)
        elif piece.kind == "header":
            lines.append("#" * min(1 + (piece.depth or 1), 6) + " " + piece.text)
        else:
            lines.append(piece.text)
    return "\n\n".join(lines)
