"""S2ORC before the API: releases 20190928, 20200705 and 20210101, and what doc2json writes (CORD-19)."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from pmc_llama.corpus.paper import (
    Paper,
    Skip,
    Span,
    parse_doi,
    parse_number,
    parse_pmcid,
    parse_pmid,
    parse_year,
    tidy_spans,
)
from pmc_llama.corpus.readers.base import Block, Head, Options, Reader, json_blocks, line_blocks
from pmc_llama.corpus.readers.lenient import decode
from pmc_llama.corpus.readers.text_builder import TextBuilder
from pmc_llama.corpus.storage import InputFile, find
from pmc_llama.errors import InputError

ARXIV = re.compile(r"(?:^|/)\d{4}\.\d{4,5}(?:v\d+)?\.json(?:\.gz)?#")
"""A file that is named by the arXiv id of its paper."""


class _Mention(msgspec.Struct):
    start: int
    end: int
    ref_id: str | None = None


class _Paragraph(msgspec.Struct):
    text: str = ""
    section: str | None = None
    sec_num: str | int | float | None = None
    cite_spans: list[_Mention] = []
    ref_spans: list[_Mention] = []


class _BibEntry(msgspec.Struct):
    title: str | None = None
    authors: list[dict[str, Any]] = []
    year: int | str | None = None
    venue: str | None = None


class _RefEntry(msgspec.Struct):
    text: str | None = None
    type: str | None = None


class _Parse(msgspec.Struct):
    abstract: list[_Paragraph] | str | None = None
    body_text: list[_Paragraph] | None = None
    back_matter: list[_Paragraph] | None = None
    bib_entries: dict[str, _BibEntry] | None = None
    ref_entries: dict[str, _RefEntry] | None = None


class Metadata(msgspec.Struct):
    """A metadata row of 20200705v1, or the `metadata` object of the other shapes."""

    paper_id: str | int | None = None
    title: str | None = None
    abstract: str | None = None
    year: int | str | None = None
    pmc_id: str | int | None = None
    pubmed_id: str | int | None = None
    doi: str | None = None
    venue: str | None = None
    journal: str | None = None
    mag_field_of_study: list[str] | None = None
    has_pdf_parse: bool | None = None


class _Row(_Parse):
    paper_id: str | int | None = None
    metadata: Metadata | None = None
    title: str | None = None
    year: int | str | None = None
    venue: str | None = None
    identifiers: dict[str, Any] | None = None
    grobid_parse: _Parse | None = None
    pdf_parse: _Parse | None = None
    latex_parse: _Parse | None = None
    jats_parse: _Parse | None = None
    header: dict[str, Any] | None = None
    """What doc2json says of itself; no release has it."""


class _Id(msgspec.Struct):
    paper_id: str | int | None = None


_id_decoder = msgspec.json.Decoder(_Id)
_row_decoder = msgspec.json.Decoder(_Row)
_metadata_decoder = msgspec.json.Decoder(Metadata)


class S2orcLegacyReader:
    """One JSON object per paper, as JSON lines or one per file; paragraphs with section names and mentions."""

    name = "s2orc_legacy"

    def sniff(self, head: Head) -> Reader | None:
        """By its keys."""
        return self if head.has_keys("paper_id", "abstract") or head.has_keys("paper_id", "body_text") else None

    def blocks(self, file: InputFile, options: Options) -> Iterator[Block]:
        """Blocks of (row, its metadata). Metadata lies in the folder `metadata` beside `pdf_parses`, shard by shard."""
        metadata = read_metadata_beside(file.path)
        number = 0
        with file.open() as stream:
            for block in json_blocks(stream, file.name):
                block.records = [
                    (record, _metadata_of(record, metadata), f"{file.name}#{place}")
                    for place, record in enumerate(block.records, start=number + 1)
                ]
                number += len(block.records)
                yield block

    def paper(self, record: Any, options: Options) -> Paper:
        """Decode one paper."""
        content, joined, place = record
        row, lost = decode(_row_decoder, content)
        metadata = joined or row.metadata or Metadata()
        paper = _identified(row, metadata)
        if row.header is not None or ARXIV.search(place):
            # doc2json takes a file's name up to its first point for the id: one id for all arXiv papers of a month
            paper.corpusid, paper.local_id = None, f"{options.source}:{place}"
        if options.quick is not None and (reason := options.quick(paper.corpusid, paper.pmcid)) is not None:
            raise Skip(reason)
        parse = row.grobid_parse or row.pdf_parse or row.latex_parse or row.jats_parse or row
        if not parse.body_text and not parse.abstract:
            raise Skip("no_text")
        _write(paper, parse, metadata)
        paper.invalid_spans += lost
        return paper


def read_metadata_beside(path: str) -> dict[str, Metadata]:
    """The metadata shard that belongs to a `pdf_parses` shard, by paper id; empty when there is none.

    Only rows that have a parse are kept: about 127,000 of the 1.4 million of a full shard.
    """
    folder, _, name = path.rpartition("/")
    shard = f"{folder.removesuffix('pdf_parses')}metadata/{name.replace('pdf_parses', 'metadata')}"
    if not folder.endswith("pdf_parses") or not find(shard):
        return {}
    found = {}
    with InputFile(shard).open() as stream:
        for line in (line for block in line_blocks(stream, shard) for line in block.records):
            try:
                row, _ = decode(_metadata_decoder, line)
            except Skip:
                raise InputError(f"{shard}: a line is no metadata row") from None
            if row.has_pdf_parse and row.paper_id is not None:
                found[str(row.paper_id)] = row
    return found


def _metadata_of(line: bytes, metadata: dict[str, Metadata]) -> Metadata | None:
    if not metadata:
        return None
    try:
        return metadata.get(str(_id_decoder.decode(line).paper_id))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None  # `paper` counts the broken line


def _identified(row: _Row, metadata: Metadata) -> Paper:
    identifiers = row.identifiers or {}
    paper_id = "" if row.paper_id is None else str(row.paper_id)
    return Paper(
        text="",
        local_id=f"s2orc:{paper_id}",
        corpusid=parse_number(paper_id) if len(paper_id) < 15 else None,  # else the hash of a PDF
        pmcid=parse_pmcid(
            metadata.pmc_id or identifiers.get("pmcid") or identifiers.get("pmc_id") or _if_pmc(paper_id)
        ),
        pmid=parse_pmid(metadata.pubmed_id or identifiers.get("pubmed_id")),
        doi=parse_doi(metadata.doi or identifiers.get("doi")),
        title=" ".join((metadata.title or row.title or "").split()),
        year=parse_year(metadata.year or row.year),
        journal=metadata.journal or metadata.venue or row.venue or None,
        fields=tuple(metadata.mag_field_of_study or ()),
    )


def _if_pmc(paper_id: str) -> str | None:
    return paper_id if paper_id.startswith("PMC") else None


def _write(paper: Paper, parse: _Parse, metadata: Metadata) -> None:
    out = TextBuilder()
    out.block(paper.title, "title")
    out.end_block()
    abstract = parse.abstract or metadata.abstract or []
    if isinstance(abstract, str):
        abstract = [_Paragraph(part.strip()) for part in abstract.split(":::")]  # ::: joins structured abstracts
    _paragraphs(out, abstract, "abstract")
    _paragraphs(out, parse.body_text or [], "paragraph")
    _paragraphs(out, parse.back_matter or [], "backmatter")
    for key, entry in (parse.bib_entries or {}).items():
        names = ", ".join(f"{author.get('first') or ''} {author.get('last') or ''}".strip() for author in entry.authors)
        words = ". ".join(str(part) for part in (names, entry.title, entry.venue, entry.year) if part)
        start = out.length
        out.add(words)
        out.span("bibentry", start, out.length, ref=key)
        out.end_line()
    out.end_block()
    for key, figure in (parse.ref_entries or {}).items():
        start = out.length
        out.add(figure.text)
        out.span("figurecaption", start, out.length)
        out.span("figure", start, out.length, ref=key)
        out.end_block()
    paper.text = out.text()
    paper.spans, paper.invalid_spans = tidy_spans(out.spans, len(paper.text))


def _paragraphs(out: TextBuilder, paragraphs: list[_Paragraph], kind: str) -> None:
    """Paragraphs as they stand, each new section name above its first one."""
    section = "" if kind != "abstract" else None
    for paragraph in paragraphs:
        name = (paragraph.section or "").split("::")[-1].strip()
        if section is not None and name and paragraph.section != section:
            start = out.length
            out.add(name)
            number = None if paragraph.sec_num is None else str(paragraph.sec_num)
            depth = (paragraph.section or "").count("::") + 1
            out.span("sectionheader", start, out.length, number=number, depth=depth if depth > 1 else None)
            out.end_block()
        section = paragraph.section if section is not None else None
        start = out.verbatim(paragraph.text)
        out.span(kind, start, out.length)
        mentions = [("bibref", paragraph.cite_spans), ("figureref", paragraph.ref_spans)]
        out.spans += [
            Span(name, start + mention.start, start + mention.end, mention.ref_id)
            for name, found in mentions
            for mention in found
            if mention.end <= len(paragraph.text)
        ]
        out.end_block()
