"""S2ORC v2 shards. The schema is known from third-party parsers only; what they disagree about is read either way."""

from collections.abc import Iterator
from typing import Any

import msgspec

from pmc_llama.corpus.paper import CorpusId, Paper, Skip, Span, parse_doi, parse_number, parse_pmcid, tidy_spans
from pmc_llama.corpus.readers.base import Block, Options, line_blocks
from pmc_llama.corpus.storage import InputFile


class _OpenAccess(msgspec.Struct):
    externalids: dict[str, Any] | None = None
    license: str | None = None


class _Section(msgspec.Struct):
    """`body` or `bibliography`: a text and its annotation lists, as an object or as one JSON text."""

    text: str | None = None
    annotations: dict[str, Any] | str | None = None


class _Row(msgspec.Struct):
    corpusid: CorpusId
    title: str | None = None
    openaccessinfo: _OpenAccess | None = None
    body: _Section | None = None
    bibliography: _Section | None = None


_decoder = msgspec.json.Decoder(_Row)


class S2orcV2Reader:
    """Reads `s2orc_v2` shards: title, body and bibliography joined to one text."""

    name = "s2orc_v2"

    def blocks(self, file: InputFile, options: Options) -> Iterator[Block]:
        """Blocks of lines."""
        with file.open() as stream:
            yield from line_blocks(stream, file.name)

    def paper(self, record: Any, options: Options) -> Paper:
        """Decode one line."""
        try:
            row = _decoder.decode(record)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Skip("bad_json") from None
        access = row.openaccessinfo or _OpenAccess()
        ids = {key.lower(): value for key, value in (access.externalids or {}).items()}
        paper = Paper(
            text="",
            corpusid=row.corpusid,
            pmcid=parse_pmcid(ids.get("pubmedcentral")),
            pmid=parse_number(ids.get("pubmed")),
            doi=parse_doi(ids.get("doi")),
            title=" ".join((row.title or "").split()),
            license=access.license,
        )
        if options.quick is not None and (reason := options.quick(paper.corpusid, paper.pmcid)) is not None:
            raise Skip(reason)
        if row.body is None or not row.body.text:
            raise Skip("no_text")
        _join(paper, [row.body, row.bibliography or _Section()], options)
        return paper


def _join(paper: Paper, sections: list[_Section], options: Options) -> None:
    text = paper.title + "\n\n" if paper.title else ""
    spans = [Span("title", 0, len(paper.title))] if paper.title else []
    for section in sections:
        for kind, annotation in _annotations(section, paper):
            if options.kinds is None or kind in options.kinds:
                spans += _spans(kind, annotation, len(text), paper)
        text += (section.text or "") + "\n\n"
    paper.text = text.rstrip("\n")
    paper.spans, invalid = tidy_spans(spans, len(paper.text))
    paper.invalid_spans += invalid


def _annotations(section: _Section, paper: Paper) -> Iterator[tuple[str, Any]]:
    """(kind as in v1, annotation list) of a section; lists that are no JSON are counted."""
    try:
        lists = section.annotations
        if isinstance(lists, str):
            lists = msgspec.json.decode(lists)
        for name, annotation in (lists or {}).items():
            yield name.replace("_", ""), msgspec.json.decode(annotation) if isinstance(annotation, str) else annotation
    except (msgspec.DecodeError, UnicodeDecodeError, AttributeError):
        paper.invalid_spans += 1


def _spans(kind: str, annotation: Any, offset: int, paper: Paper) -> Iterator[Span]:
    if not isinstance(annotation, list):
        paper.invalid_spans += annotation is not None
        return
    for item in annotation:
        try:
            attributes = item.get("attributes") or {}
            ref = attributes.get("ref_id", attributes.get("id", item.get("ref_id", item.get("id"))))
            number = attributes.get("n", item.get("n"))
            yield Span(
                kind,
                int(item["start"]) + offset,
                int(item["end"]) + offset,
                str(ref) if ref is not None else None,
                str(number) if number is not None else None,
            )
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            paper.invalid_spans += 1
