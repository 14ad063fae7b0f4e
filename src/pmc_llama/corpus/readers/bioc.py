"""BioC-PMC JSON: collections of documents made of passages."""

from collections.abc import Iterator
from typing import Any

import msgspec

from pmc_llama.corpus.paper import Paper, Skip, parse_doi, parse_pmcid, parse_pmid, parse_year, tidy_spans
from pmc_llama.corpus.readers import base
from pmc_llama.corpus.readers.base import Block, Options
from pmc_llama.corpus.readers.lenient import decode
from pmc_llama.corpus.readers.tar import members
from pmc_llama.corpus.readers.text_builder import TextBuilder
from pmc_llama.corpus.storage import InputFile
from pmc_llama.errors import InputError

SUFFIXES = (".json", ".xml")
BACK_SECTIONS = {
    *("ACK_FUND", "COMP_INT", "AUTH_CONT", "SUPPL", "APPENDIX", "REVIEW_INFO", "KEYWORD", "ABBR"),
}


class _Passage(msgspec.Struct):
    text: str | None = None
    infons: dict[str, Any] = {}


class _Document(msgspec.Struct):
    id: str | int = ""
    passages: list[_Passage] = []
    infons: dict[str, Any] = {}


class _Collection(msgspec.Struct):
    documents: list[msgspec.Raw]


_document_decoder = msgspec.json.Decoder(_Document)
_file_decoder = msgspec.json.Decoder(_Collection | list[_Collection])


class BiocReader:
    """Reads files with one collection, or a list of them as the API returns."""

    name = "bioc"

    def blocks(self, file: InputFile, options: Options) -> Iterator[Block]:
        """The documents of a file."""
        content = file.read_all()
        try:
            yield Block(_documents(content), size_bytes=len(content))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{file.path}: no BioC collection ({error})") from error

    def paper(self, record: Any, options: Options) -> Paper:
        """Decode one document."""
        document, _ = decode(_document_decoder, record)
        if not document.passages:
            raise Skip("no_text")
        infons = document.infons | document.passages[0].infons
        paper = Paper(
            text="",
            local_id=f"{options.source}:{document.id}",
            pmcid=parse_pmcid(infons.get("article-id_pmc") or document.id),
            pmid=parse_pmid(infons.get("article-id_pmid")),
            doi=parse_doi(infons.get("article-id_doi")),
            year=parse_year(infons.get("year")),
            journal=_text(infons.get("journal") or infons.get("journal-title")),
            license=_text(infons.get("license")),
        )
        out = TextBuilder()
        for passage in document.passages:
            kind, depth = _kind(passage)
            start = out.verbatim(passage.text or "")
            out.span(kind, start, out.length, depth=depth)
            if kind == "title" and not paper.title:
                paper.title = " ".join((passage.text or "").split())
            out.end_block()
        paper.text = out.text()
        paper.spans, paper.invalid_spans = tidy_spans(out.spans, len(paper.text))
        return paper


class BiocTarReader(BiocReader):
    """Reads the bulk packages of BioC-PMC: tarballs of collections, whose names end in `.json` or `.xml`."""

    def blocks(self, file: InputFile, options: Options) -> Iterator[Block]:
        """The documents of all members. Members that hold no collection are counted."""
        block = Block([])
        for member in members(file, SUFFIXES):
            try:
                block.records += _documents(member.content) if member.refused is None else []
                reason = member.refused
            except (msgspec.DecodeError, UnicodeDecodeError):
                reason = "bad_json"
            if reason is not None:
                block.dropped[reason] += 1
            block.size_bytes += len(member.content)
            if block.size_bytes >= base.BLOCK_BYTES:
                yield block
                block = Block([])
        yield block


def _documents(content: bytes) -> list[bytes]:
    decoded = _file_decoder.decode(content)
    collections = decoded if isinstance(decoded, list) else [decoded]
    return [bytes(document) for collection in collections for document in collection.documents]


def _text(value: Any) -> str | None:
    return str(value) if value else None


def _kind(passage: _Passage) -> tuple[str, int | None]:
    """Kind and depth of a passage by its `section_type` and `type`."""
    section = str(passage.infons.get("section_type") or "").upper()
    kind = str(passage.infons.get("type") or "").lower()
    if section == "TITLE" or kind in ("front", "title"):
        return "title", None
    if section == "REF":
        return "bibentry", None
    if section in BACK_SECTIONS:
        return "backmatter", None
    if section in ("FIG", "TABLE"):
        return ("table" if kind == "table" else "figurecaption"), None
    if kind.startswith("title"):
        number = kind.rpartition("_")[2]
        return "sectionheader", int(number) if number.isdigit() else None
    return ("abstract" if section == "ABSTRACT" else "paragraph"), None
