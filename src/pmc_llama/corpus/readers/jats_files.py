"""PMC's files of JATS articles: single XML files, and the old bulk tarballs with their file lists."""

import io
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from pmc_llama.corpus.paper import Paper, Skip, parse_doi, parse_number, parse_pmcid
from pmc_llama.corpus.readers import base
from pmc_llama.corpus.readers.base import Block, Options
from pmc_llama.corpus.readers.jats import read_article
from pmc_llama.corpus.readers.table import read_rows
from pmc_llama.corpus.readers.tar import members
from pmc_llama.corpus.storage import InputFile, read_optional
from pmc_llama.errors import InputError

SUFFIXES = (".xml", ".nxml")


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
NEW_LAYOUT = 10**9
"""Added to version numbers of the layout of 2026, which is newer than any dated bulk package."""


class JatsReader:
    """One article a file."""

    name = "jats"

    def blocks(self, file: InputFile, options: Options) -> Iterator[Block]:
        """The file as one record, with what PMC's JSON beside it says (the layout of one folder an article)."""
        xml = file.read_all()
        yield Block([(file.name, xml, read_metadata_beside(file.path))], size_bytes=len(xml))

    def paper(self, record: Any, options: Options) -> Paper:
        """Parse one article and let the file list, where there is one, fill in and overrule."""
        name, xml, listed = record
        if listed is not None and options.quick is not None:
            reason = options.quick(None, listed.pmcid)
            if reason is not None and listed.pmcid is not None:
                raise Skip(reason)
        paper = read_article(xml, options.kinds)
        paper.local_id = f"{options.source}:{name}"
        if paper.pmcid is None:
            paper.pmcid = _pmcid_in_name(name)
        if listed is not None:
            paper.pmcid = paper.pmcid or listed.pmcid
            paper.pmid = paper.pmid or listed.pmid
            paper.license = listed.license or paper.license
            paper.doi = paper.doi or listed.doi
            paper.retracted, paper.manuscript, paper.ocr = listed.retracted, listed.manuscript, listed.ocr
            paper.version = listed.version
        return paper


class JatsTarReader(JatsReader):
    """An old bulk package: a tarball of articles, and beside it its file list."""

    def blocks(self, file: InputFile, options: Options) -> Iterator[Block]:
        """Blocks of articles. Members that are no XML files are not articles and are passed over."""
        listed = read_file_list(file.path)
        block = Block([])
        for member in members(file, SUFFIXES):
            if member.refused is not None:
                block.dropped[member.refused] += 1
                continue
            block.records.append((member.name, member.content, listed.get(member.name)))
            block.size_bytes += len(member.content)
            if block.size_bytes >= base.BLOCK_BYTES:
                yield block
                block = Block([])
        yield block


def read_metadata_beside(path: str) -> Listed | None:
    """What `PMC1.1.json` says of `PMC1.1.xml`; None when there is no such file.

    Raises InputError when there is one that cannot be read.
    """
    beside = path.removesuffix(".nxml").removesuffix(".xml") + ".json"
    content = read_optional(beside)
    if content is None:
        return None
    try:
        found = _metadata_decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{beside}: no JSON metadata of an article ({error})") from error
    return Listed(
        parse_pmcid(found.pmcid),
        parse_number(found.pmid),
        found.license_code,
        bool(found.is_retracted),
        NEW_LAYOUT + (parse_number(found.version) or 0),
        parse_doi(found.doi),
        bool(found.is_manuscript),
        bool(found.is_historical_ocr),
    )


def _pmcid_in_name(name: str) -> int | None:
    stem = name.rpartition("/")[2].removesuffix(".xml").removesuffix(".nxml")
    return parse_pmcid(stem) if stem.upper().startswith("PMC") else None


def read_file_list(tarball: str) -> dict[str, Listed]:
    """The rows of `X.filelist.csv` (or `.txt`) beside `X.tar.gz` by member name; empty when there is none.

    Columns are found by their header: Article File, AccessionID, PMID, License, Retracted.
    """
    stem = tarball.removesuffix(".gz").removesuffix(".tgz").removesuffix(".tar")
    path = stem + ".filelist.csv"
    content = read_optional(path)
    if content is None:
        path = stem + ".filelist.txt"
        content = read_optional(path)
    if content is None:
        return {}
    text = io.StringIO(content.decode("utf-8-sig", "replace"), newline="")
    known = ("AccessionID", "LastUpdated", "PMID", "License", "Retracted")
    return {row["Article File"]: _listed(row) for row in read_rows(text, path, ("Article File",), known)}


def _listed(row: dict[str, str]) -> Listed:
    return Listed(
        parse_pmcid(row.get("AccessionID")),
        parse_number(row.get("PMID")),
        row.get("License") or None,
        (row.get("Retracted") or "").strip().lower() in ("yes", "true", "1"),
        parse_number("".join(filter(str.isdigit, (row.get("LastUpdated") or "")[:10]))) or 0,  # 2026-06-18 -> 20260618
    )
