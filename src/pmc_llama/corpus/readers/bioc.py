"""BioC-PMC JSON: collections of documents made of passages."""

import io
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import msgspec

from pmc_llama.corpus.paper import Paper, Skip, parse_doi, parse_pmcid, parse_pmid, parse_year, tidy_spans
from pmc_llama.corpus.readers import base
from pmc_llama.corpus.readers.base import Block, Head, Options, Reader, json_blocks
from pmc_llama.corpus.readers.lenient import decode
from pmc_llama.corpus.readers.tar import members
from pmc_llama.corpus.readers.text_builder import TextBuilder
from pmc_llama.corpus.storage import InputFile, as_utf8
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


class _Container(msgspec.Struct, rename={"pubtator3": "PubTator3"}):
    """A collection, PubTator3's answer, or a document alone."""

    documents: list[msgspec.Raw] | None = None
    pubtator3: list[msgspec.Raw] | None = None
    passages: list[msgspec.Raw] | None = None


_document_decoder = msgspec.json.Decoder(_Document)
_container_decoder = msgspec.json.Decoder(_Container)


class BiocReader:
    """Reads files with one collection, or a list or lines of them, and with one document per line."""

    name = "bioc"

    def sniff(self, head: Head) -> Reader | None:
        """By the keys of a collection or a document; a tarball by the first file in it."""
        if head.is_tar:
            return BiocTarReader() if head.content[:1] in (b"{", b"[") else None
        return self if head.has_keys("documents", "infons") or head.has_keys("passages", "infons") else None

    def blocks(self, file: InputFile, options: Options) -> Iterator[Block]:
        """The documents of a file. Raises InputError when there is none."""
        found = 0
        with file.open() as stream:
            for block in json_blocks(stream, file.name):
                unpacked = _unpacked(block)
                found += len(unpacked.records)
                yield unpacked
        if not found:
            raise InputError(f"{file.path}: no BioC collection with documents")

    def paper(self, record: Any, options: Options) -> Paper:
        """Decode one document."""
        document, _ = decode(_document_decoder, record)
        if not document.passages:
            raise Skip("no_text")
        infons = document.infons | document.passages[0].infons
        paper = Paper(
            text="",
            true_paragraphs=True,
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
            if member.refused is not None:
                block.dropped[member.refused] += 1
                continue
            stream = cast(BinaryIO, io.BufferedReader(io.BytesIO(as_utf8(member.content))))
            for found in map(_unpacked, json_blocks(stream, member.name)):
                block.records += found.records
                block.dropped.update(found.dropped)
            block.size_bytes += len(member.content)
            if block.size_bytes >= base.BLOCK_BYTES:
                yield block
                block = Block([])
        yield block


def _unpacked(block: Block) -> Block:
    """The documents in the collections of a block; what is neither is counted."""
    unpacked = Block([], size_bytes=block.size_bytes)
    for record in block.records:
        try:
            container = _container_decoder.decode(record)
        except (msgspec.DecodeError, UnicodeDecodeError):
            unpacked.dropped["bad_json"] += 1
            continue
        documents = container.documents if container.documents is not None else container.pubtator3
        if documents is not None:
            unpacked.records += [bytes(document) for document in documents]
        elif container.passages is not None:
            unpacked.records.append(record)
        else:
            unpacked.dropped["no_documents"] += 1
    return unpacked


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
