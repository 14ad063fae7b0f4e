"""S2ORC as the S2 Datasets API serves it (v1): gzip JSON lines, one text and stand-off annotations per paper."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from pmc_llama.corpus.paper import (
    CorpusId,
    Paper,
    Skip,
    Span,
    parse_doi,
    parse_number,
    parse_pmcid,
    parse_pmid,
    tidy_spans,
)
from pmc_llama.corpus.readers.base import Block, Head, Options, Quick, Reader, json_blocks, require_paragraphs
from pmc_llama.corpus.readers.lenient import decode, parse, spans_of
from pmc_llama.corpus.storage import InputFile

WINDOW_BYTES = 400
HEAD = re.compile(rb'\{\s*"corpusid"\s*:\s*(\d{1,18})\s*,\s*"externalids"\s*:\s*(\{[^{}]*\})')
YEAR = re.compile(r"\b(1[6-9]\d\d|20\d\d)\b")


class _Ids(msgspec.Struct):
    pubmed: str | int | None = None
    pubmedcentral: str | int | None = None
    doi: str | None = None


class _OpenAccess(msgspec.Struct):
    license: str | None = None


class _Source(msgspec.Struct):
    oainfo: _OpenAccess | None = None


class _Content(msgspec.Struct):
    text: str | None = None
    annotations: dict[str, msgspec.Raw] | str | None = None
    """Each list as a JSON text, as it is published, or decoded, as it is after a round through other programs."""
    source: _Source | None = None


class _Row(msgspec.Struct):
    corpusid: CorpusId
    updated: str | None = None
    externalids: _Ids | None = None
    content: _Content | None = None


class _Attributes(msgspec.Struct, frozen=True):
    id: str | int | None = None
    ref_id: str | int | None = None
    n: str | int | float | None = None


class _Annotation(msgspec.Struct, frozen=True):
    start: int
    end: int
    attributes: _Attributes | None = None


_ids_decoder = msgspec.json.Decoder(_Ids)
_row_decoder = msgspec.json.Decoder(_Row)
_encoded_decoder = msgspec.json.Decoder(str | None)
_lists_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_annotations_decoder = msgspec.json.Decoder(list[_Annotation])


class S2orcV1Reader:
    """Reads `s2orc` shards. Rows that the selection drops by their ids alone are never decoded."""

    name = "s2orc_v1"

    def sniff(self, head: Head) -> Reader | None:
        """By its keys; in rows that are written with sorted keys the ids stand behind the text."""
        with_ids = head.has_keys("corpusid", "externalids", "content")
        return self if with_ids or head.has_keys("content", "annotations") else None

    def blocks(self, file: InputFile, options: Options) -> Iterator[Block]:
        """Blocks of lines that may be wanted."""
        with file.open() as stream:
            yield from json_blocks(stream, file.name, None if options.quick is None else _quick(options.quick))

    def paper(self, record: Any, options: Options) -> Paper:
        """Decode one line."""
        row, _ = decode(_row_decoder, record)
        ids, content = row.externalids or _Ids(), row.content or _Content()
        paper = Paper(
            text="",
            corpusid=row.corpusid,
            pmcid=parse_pmcid(ids.pubmedcentral),
            pmid=parse_pmid(ids.pubmed),
            doi=parse_doi(ids.doi),
            version=_version(row.updated),
            license=content.source.oainfo.license if content.source and content.source.oainfo else None,
        )
        if options.quick is not None and (reason := options.quick(paper.corpusid, paper.pmcid)) is not None:
            raise Skip(reason)
        if not content.text:
            raise Skip("no_text")
        paper.text = content.text
        _annotate(paper, _lists(content.annotations, paper), options)
        if options.kinds is not None and "paragraph" in options.kinds:
            require_paragraphs(paper)
        return paper


def _version(updated: str | None) -> int:
    """2023-01-01T12:00:59Z as 20230101120059, so that a larger number is newer."""
    return parse_number("".join(filter(str.isdigit, (updated or "")[:19]))) or 0


def _quick(refuse: Quick) -> Callable[[bytes, int, int], str | None]:
    """Selection by the first bytes of a line; a line of which they do not tell enough is not refused."""

    def reason(buffer: bytes, start: int, end: int) -> str | None:
        head = HEAD.match(buffer, start, min(end, start + WINDOW_BYTES))
        if head is None:
            return None
        try:
            ids = _ids_decoder.decode(head.group(2))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        return refuse(int(head.group(1)), parse_pmcid(ids.pubmedcentral))

    return reason


def _lists(annotations: dict[str, msgspec.Raw] | str | None, paper: Paper) -> dict[str, msgspec.Raw]:
    """The annotation lists by kind; a JSON text of them all is decoded."""
    if not isinstance(annotations, str):
        return annotations or {}
    try:
        return _lists_decoder.decode(annotations)
    except (msgspec.DecodeError, UnicodeDecodeError):
        paper.invalid_spans += 1
        return {}


def _annotate(paper: Paper, annotations: dict[str, msgspec.Raw], options: Options) -> None:
    """Decode the annotation lists that are wanted, each a JSON text inside the JSON record, into spans."""
    spans: list[Span] = []
    for kind, raw in annotations.items():
        if options.kinds is not None and kind not in options.kinds:
            continue
        try:
            encoded = _encoded_decoder.decode(raw)
            found = _annotations_decoder.decode(encoded) if encoded else []
        except (msgspec.DecodeError, UnicodeDecodeError):
            odd, invalid = _odd_list(kind, raw)
            spans += odd
            paper.invalid_spans += invalid
            continue
        spans += [_span(kind, annotation) for annotation in dict.fromkeys(found)]  # each stands there 2 or 3 times
    paper.spans, invalid = tidy_spans(spans, len(paper.text))
    paper.invalid_spans += invalid
    for span in paper.spans:
        if span.kind == "title" and not paper.title:
            paper.title = " ".join(paper.text[span.start : span.end].split())
        elif span.kind == "venue" and paper.journal is None:
            _set_venue(paper, paper.text[span.start : span.end])


def _odd_list(kind: str, raw: msgspec.Raw) -> tuple[list[Span], int]:
    """The spans of a list that is decoded already or holds odd entries, and how many could not be read."""
    try:
        value = parse(bytes(raw))
        return spans_of(kind, parse(value) if isinstance(value, str) else value, 0, ("id", "ref_id"))
    except Skip:
        return [], 1


def _set_venue(paper: Paper, venue: str) -> None:
    """Split "BMC Medicine 2014" into journal and year."""
    years = YEAR.findall(venue)
    paper.year = int(years[-1]) if years else None
    paper.journal = " ".join(YEAR.sub(" ", venue).split()) or None


def _span(kind: str, annotation: _Annotation) -> Span:
    attributes = annotation.attributes
    if attributes is None:
        return Span(kind, annotation.start, annotation.end)
    ref = attributes.ref_id if attributes.id is None else attributes.id
    number = attributes.n
    return Span(
        kind,
        annotation.start,
        annotation.end,
        str(ref) if ref is not None else None,
        str(number) if number is not None else None,
    )
