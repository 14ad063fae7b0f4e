"""S2ORC v2 shards. The schema is known from third-party parsers only; what they disagree about is read either way."""

from collections.abc import Iterator
from typing import Any

import msgspec

from pmc_llama.corpus.paper import CorpusId, Paper, Skip, Span, parse_doi, parse_pmcid, parse_pmid, tidy_spans
from pmc_llama.corpus.readers.base import Block, Head, Options, Reader, json_blocks, require_paragraphs
from pmc_llama.corpus.readers.lenient import decode, parse, spans_of
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

    def sniff(self, head: Head) -> Reader | None:
        """By its keys."""
        return self if head.has_keys("corpusid", "body") or head.has_keys("body", "annotations") else None

    def blocks(self, file: InputFile, options: Options) -> Iterator[Block]:
        """Blocks of lines."""
        with file.open() as stream:
            yield from json_blocks(stream, file.name)

    def paper(self, record: Any, options: Options) -> Paper:
        """Decode one line."""
        row, _ = decode(_decoder, record)
        access = row.openaccessinfo or _OpenAccess()
        ids = {key.lower(): value for key, value in (access.externalids or {}).items()}
        paper = Paper(
            text="",
            corpusid=row.corpusid,
            pmcid=parse_pmcid(ids.get("pubmedcentral")),
            pmid=parse_pmid(ids.get("pubmed")),
            doi=parse_doi(ids.get("doi")),
            title=" ".join((row.title or "").split()),
            license=access.license,
        )
        if options.quick is not None and (reason := options.quick(paper.corpusid, paper.pmcid)) is not None:
            raise Skip(reason)
        if row.body is None or not row.body.text:
            raise Skip("no_text")
        _join(paper, [row.body, row.bibliography or _Section()], options)
        if options.kinds is not None and "paragraph" in options.kinds:
            require_paragraphs(paper)
        return paper


def _join(paper: Paper, sections: list[_Section], options: Options) -> None:
    text = paper.title + "\n\n" if paper.title else ""
    spans = [Span("title", 0, len(paper.title))] if paper.title else []
    for section in sections:
        for kind, annotation in _annotations(section, paper):
            if options.kinds is None or kind in options.kinds:
                found, invalid = spans_of(kind, annotation, len(text), ("ref_id", "id"))
                spans += found
                paper.invalid_spans += invalid
        text += (section.text or "") + "\n\n"
    paper.text = text.rstrip("\n")
    paper.spans, invalid = tidy_spans(spans, len(paper.text))
    paper.invalid_spans += invalid


def _annotations(section: _Section, paper: Paper) -> Iterator[tuple[str, Any]]:
    """(kind as in v1, annotation list) of a section; what is no JSON is counted, each list for itself."""
    lists = _decoded(section.annotations, paper)
    if not isinstance(lists, dict):
        paper.invalid_spans += lists is not None
        return
    for name, annotation in lists.items():
        yield name.replace("_", ""), _decoded(annotation, paper)


def _decoded(value: Any, paper: Paper) -> Any:
    """The value of a JSON text, and any other value as it is."""
    if not isinstance(value, str):
        return value
    try:
        return parse(value)
    except Skip:
        paper.invalid_spans += 1
        return None
