"""PMC's files of JATS articles: single XML files, and the old bulk tarballs with their file lists."""

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from pmc_llama.corpus.paper import Paper, Skip, parse_doi, parse_number, parse_pmcid, parse_pmid
from pmc_llama.corpus.readers import base
from pmc_llama.corpus.readers.articles import Piece, split_articles
from pmc_llama.corpus.readers.base import Block, Head, Options, Reader
from pmc_llama.corpus.readers.jats import read_article
from pmc_llama.corpus.readers.jats_license import stricter
from pmc_llama.corpus.readers.jats_meta import version_in_id
from pmc_llama.corpus.readers.lenient import decode
from pmc_llama.corpus.readers.table import read_rows
from pmc_llama.corpus.readers.tar import members
from pmc_llama.corpus.readers.xml_repair import decoded, mended, unescaped, with_own_entities
from pmc_llama.corpus.storage import InputFile, read_optional
from pmc_llama.errors import InputError

SUFFIXES = (".xml", ".nxml")
ROOT = re.compile(rb"<(\w+:)?(article|pmc-articleset|OAI-PMH)\b")


class Listed(NamedTuple):
    """What a file list, or PMC's JSON metadata, says of one article."""

    pmcid: int | None
    pmid: int | None
    license: str | None
    retracted: bool
    version: int
    doi: str | None = None
    manuscript: bool = False
    ocr: bool = False


class _Metadata(msgspec.Struct):
    """The JSON beside each article in the bucket `pmc-oa-opendata`."""

    pmcid: str | None = None
    version: int | str | None = None
    pmid: int | str | None = None
    doi: str | None = None
    license_code: str | None = None
    is_retracted: bool | None = None
    is_manuscript: bool | None = None
    is_historical_ocr: bool | None = None


_metadata_decoder = msgspec.json.Decoder(_Metadata, strict=False)
REMARK = re.compile(r"\s*\([^)]*\)")
NEW_LAYOUT = 10**9
"""Added to version numbers of the layout of 2026, which is newer than any dated bulk package."""


class Record(NamedTuple):
    """One article as `blocks` cuts it out."""

    name: str
    piece: Piece
    listed: Listed | None


class JatsReader:
    """XML files: one article, or several."""

    name = "jats"

    def sniff(self, head: Head) -> Reader | None:
        """By its tags; a tarball that is not of JSON files."""
        if head.is_tar:
            return JatsTarReader() if head.content[:1] not in (b"{", b"[") else None
        return self if head.content[:1] == b"<" and ROOT.search(head.content) is not None else None

    def blocks(self, file: InputFile, options: Options) -> Iterator[Block]:
        """The articles of the file, with what PMC's JSON beside it says (the layout of one folder an article)."""
        yield from _in_blocks([_block(file.name, file.read_all(), read_metadata_beside(file.path))])

    def paper(self, record: Any, options: Options) -> Paper:
        """Parse one article; a file list, where there is one, fills in and overrules (a licence only if stricter)."""
        name, piece, listed = record
        if listed is not None and options.quick is not None:
            reason = options.quick(None, listed.pmcid)
            if reason is not None and listed.pmcid is not None:
                raise Skip(reason)
        paper = _read(piece.xml, options.kinds)
        paper.local_id = f"{options.source}:{name}" + (f"#{piece.number}" if piece.number or piece.is_part else "")
        in_name = _pmcid_in_name(name)
        if piece.is_part:
            paper.part_of = piece.part_of or in_name or (listed.pmcid if listed is not None else None)
            paper.pmcid = None if paper.pmcid == paper.part_of else paper.pmcid
        elif not piece.number:
            paper.pmcid = paper.pmcid or in_name
            paper.version = paper.version or version_in_id(_stem(name))
        if listed is not None:
            _complete(paper, listed, whole=not piece.is_part)
        return paper


class JatsTarReader(JatsReader):
    """An old bulk package: a tarball of articles, and beside it its file list."""

    def blocks(self, file: InputFile, options: Options) -> Iterator[Block]:
        """Blocks of articles. Members that are no XML files are not articles and are passed over."""
        listed = read_file_list(file.path)
        yield from _in_blocks(
            _block(member.name, member.content, listed.get(member.name))
            if member.refused is None
            else Block([], Counter([member.refused]))
            for member in members(file, SUFFIXES)
        )


def _block(name: str, xml: bytes, listed: Listed | None) -> Block:
    """The articles of one file. What is listed of the file is true of its one article."""
    pieces, dropped = split_articles(decoded(xml))
    if sum(not piece.is_part for piece in pieces) > 1:
        listed = None
    return Block([Record(name, piece, listed) for piece in pieces], dropped, len(xml))


def _in_blocks(files: Iterable[Block]) -> Iterator[Block]:
    """Small blocks joined, and large ones cut, to about BLOCK_BYTES."""
    block = Block([])
    for file in files:
        block.dropped.update(file.dropped)
        for record in file.records:
            block.records.append(record)
            block.size_bytes += len(record.piece.xml)
            if block.size_bytes >= base.BLOCK_BYTES:
                yield block
                block = Block([])
    if block.records or block.dropped:
        yield block


def _read(xml: bytes, kinds: frozenset[str] | None) -> Paper:
    """The paper; a document that was refused, or shows characters that are escaped twice, is mended and read again."""
    xml = with_own_entities(xml)
    try:
        paper = read_article(xml, kinds)
    except Skip as skip:
        better = mended(xml) if skip.reason == "bad_xml" else None
        if better is None:
            raise
        xml, paper = better, read_article(better, kinds)
    again = unescaped(xml, paper.text)
    return paper if again is None else read_article(again, kinds)


def _complete(paper: Paper, listed: Listed, whole: bool) -> None:
    """What is listed of a file; its identifiers are not those of a part of it."""
    if whole:
        paper.pmcid = paper.pmcid or listed.pmcid
        paper.pmid = paper.pmid or listed.pmid
        paper.doi = paper.doi or listed.doi
    paper.license = stricter(listed.license, paper.license)
    paper.retracted, paper.manuscript, paper.ocr = listed.retracted, listed.manuscript, listed.ocr
    paper.version = listed.version or paper.version


def read_metadata_beside(path: str) -> Listed | None:
    """What `PMC1.1.json` says of `PMC1.1.xml`; None when there is no such file.

    Raises InputError when there is one that cannot be read.
    """
    beside = path.removesuffix(".nxml").removesuffix(".xml") + ".json"
    content = read_optional(beside)
    if content is None:
        return None
    try:
        found, _ = decode(_metadata_decoder, content)
    except Skip:
        raise InputError(f"{beside}: no JSON metadata of an article") from None
    return Listed(
        parse_pmcid(found.pmcid),
        parse_pmid(found.pmid),
        found.license_code,
        bool(found.is_retracted),
        NEW_LAYOUT + (parse_number(found.version) or 0),
        parse_doi(found.doi),
        bool(found.is_manuscript),
        bool(found.is_historical_ocr),
    )


def _pmcid_in_name(name: str) -> int | None:
    stem = _stem(name)
    return parse_pmcid(stem) if stem.upper().startswith("PMC") else None


def _stem(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".gz").removesuffix(".xml").removesuffix(".nxml")


def read_file_list(tarball: str) -> dict[str, Listed]:
    """The rows of `X.filelist.csv` (or `.txt`) beside `X.tar.gz` by member name; empty when there is none.

    Columns are found by their header: Article File, AccessionID, LastUpdated, PMID, License, Retracted. What a name
    says in brackets behind it, as in `LastUpdated (YYYY-MM-DD HH:MM:SS)`, is a remark.
    """
    stem = tarball.removesuffix(".gz").removesuffix(".tgz").removesuffix(".tar")
    path = stem + ".filelist.csv"
    content = read_optional(path)
    if content is None:
        path = stem + ".filelist.txt"
        content = read_optional(path)
    if content is None:
        return {}
    header, newline, rows = content.decode("utf-8-sig", "replace").partition("\n")
    text = io.StringIO(REMARK.sub("", header) + newline + rows, newline="")
    known = ("AccessionID", "LastUpdated", "PMID", "License", "Retracted")
    return {row["Article File"]: _listed(row) for row in read_rows(text, path, ("Article File",), known)}


def _listed(row: dict[str, str]) -> Listed:
    return Listed(
        parse_pmcid(row.get("AccessionID")),
        parse_pmid(row.get("PMID")),
        row.get("License") or None,
        (row.get("Retracted") or "").strip().lower() in ("yes", "true", "1"),
        parse_number("".join(filter(str.isdigit, (row.get("LastUpdated") or "")[:10]))) or 0,  # 2026-06-18 -> 20260618
    )
