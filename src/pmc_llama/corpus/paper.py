"""The paper: one string and typed spans that point into it, whatever format it came from."""

import hashlib
import html
import re
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any
from urllib.parse import unquote

import msgspec

PMCID = re.compile(r"(?:PMC)?0*([1-9]\d{0,17})(?:\.\d+)?", re.IGNORECASE)
DOI_PREFIX = re.compile(r"^(?:doi:?\s*)?(?:(?:https?://)?(?:dx\.|www\.)?doi\.org/)?", re.IGNORECASE)
PMID_PREFIX = re.compile(r"^pmid:?\s*", re.IGNORECASE)
INT64_MAX = 2**63 - 1
CorpusId = Annotated[int, msgspec.Meta(ge=0, le=INT64_MAX)]
"""Semantic Scholar's number of a paper, as far as a 64-bit column holds it."""


class Skip(Exception):
    """A record that yields no paper; `reason` goes to the ledger."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Span(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A piece of `Paper.text`: code points `start` to `end` (exclusive).

    `kind` is named as in S2ORC: title, author, abstract, sectionheader, paragraph, bibref, bibentry, figure,
    figurecaption, figureref, table, tableref, formula and others. `ref` is the id of what the span is (bibentry,
    figure) or points at (bibref, figureref); `number` is a header's section number, `depth` its level from 1.
    """

    kind: str
    start: int
    end: int
    ref: str | None = None
    number: str | None = None
    depth: int | None = None


class Paper(msgspec.Struct):
    """One paper as a reader gives it: identifiers, metadata, text and stand-off spans (sorted and unique)."""

    text: str
    spans: tuple[Span, ...] = ()
    local_id: str = ""
    """Name inside its source, for documents without any identifier of the literature."""
    pmcid: int | None = None
    pmid: int | None = None
    doi: str | None = None
    corpusid: int | None = None
    part_of: int | None = None
    """PMC id of the article that holds this one (an abstract of a meeting, a translation); it is not this paper's."""
    title: str = ""
    year: int | None = None
    journal: str | None = None
    license: str | None = None
    fields: tuple[str, ...] = ()
    """Fields of study."""
    retracted: bool = False
    manuscript: bool = False
    """An author's manuscript, not the publisher's version."""
    ocr: bool = False
    """Text recognised from scanned pages."""
    version: int = 0
    """Larger is newer, among versions of one paper in one format."""
    true_paragraphs: bool = False
    """The format marks paragraphs as their authors set them: none is cut by a page."""
    invalid_spans: int = 0
    """Spans that pointed outside the text or could not be read; they are left out and counted."""

    @property
    def paper_id(self) -> str:
        """`pmc:1950857`, else `s2:255784639`, else `pmid:…`, `doi:…`, else the name inside its source."""
        if self.pmcid is not None:
            return f"pmc:{self.pmcid}"
        if self.corpusid is not None:
            return f"s2:{self.corpusid}"
        if self.pmid is not None:
            return f"pmid:{self.pmid}"
        return f"doi:{self.doi}" if self.doi else self.local_id


def tidy_spans(spans: Iterable[Span], text_length: int) -> tuple[tuple[Span, ...], int]:
    """Distinct spans that lie inside the text, by start and the longest first; and how many did not lie inside.

    Real S2ORC records list each span two or three times, unsorted.
    """
    distinct = dict.fromkeys(spans)  # keeps their order, so that spans of one place always come in the same one
    good = [span for span in distinct if 0 <= span.start < span.end <= text_length]
    good.sort(key=_span_order)
    return tuple(good), len(distinct) - len(good)


def _span_order(span: Span) -> int:
    """By start, then the longest first, as one number: texts are shorter than 2^40."""
    return (span.start << 40) - span.end


def parse_pmcid(value: str | int | None) -> int | None:
    """A PMC id as a number from any of its spellings: 9798118, "9798118", "PMC9798118", "PMC9798118.1"."""
    if value is None:
        return None
    match = PMCID.fullmatch(str(value).strip())
    return int(match.group(1)) if match else None


def parse_year(value: str | int | None) -> int | None:
    """A year given as 2011, "2011" or "2011-11", else None."""
    number = parse_number(str(value)[:4]) if value else None
    return number if number is not None and number >= 1000 else None


def parse_number(value: str | int | None) -> int | None:
    """A positive 64-bit number given as int or digits, else None (PMC file lists write PMID 0 for none)."""
    text = str(value).strip() if value is not None else ""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        return None
    return int(text) if 0 < int(text) <= INT64_MAX else None


def parse_pmid(value: Any) -> int | None:
    """A PubMed id given as number, digits or "PMID: 11250748", else None."""
    return parse_number(PMID_PREFIX.sub("", value.strip()) if isinstance(value, str) else value)


def parse_doi(value: Any) -> str | None:
    """A DOI in lower case without resolver prefix; None when it is not one.

    Escapes of URLs (`%2F`) and XML (`&lt;`) are undone, and the full stop or comma of a sentence behind it is no part.
    """
    if not isinstance(value, str):
        return None
    doi = DOI_PREFIX.sub("", value.strip()).lower()
    if "&" in doi:
        doi = html.unescape(doi)
    if "%" in doi:
        doi = unquote(doi)
    doi = doi.rstrip(".,; ")
    return doi if doi.startswith("10.") and "/" in doi else None


def text_hash(text: str) -> int:
    """A hash that is the same for texts that differ in white space or in the case of ASCII letters only."""
    return hash64(text.encode("utf-8", "surrogatepass").lower().translate(None, b" \t\r\n"))


def hash64(value: str | bytes) -> int:
    """64 bits of BLAKE2b as a signed integer."""
    content = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    digest = hashlib.blake2b(content, digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


Counts = Counter[str]
