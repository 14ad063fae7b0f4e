"""Plain documents: text files, and JSON lines or Parquet with `id` and `text` columns."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO, ClassVar

import msgspec

from pmc_llama.corpus.bounds import MAX_RECORD_BYTES, TooLarge, lines, read_whole
from pmc_llama.corpus.paper import CorpusId, Paper, Skip, parse_doi, parse_pmcid, parse_pmid, parse_year
from pmc_llama.corpus.readers.base import BLOCK_BYTES, Block, Head, Options, Reader, json_blocks
from pmc_llama.corpus.readers.lenient import convert, decode
from pmc_llama.corpus.readers.parquet import table_rows
from pmc_llama.corpus.storage import InputFile
from pmc_llama.errors import InputError


class TextReader:
    """UTF-8 text: one document per file, or with `split_on` one from each line that matches it whole to the next."""

    name = "text"

    def sniff(self, head: Head) -> Reader | None:
        """Neither XML nor JSON, and no binary content."""
        is_text = head.content[:1] not in (b"<", b"{", b"[") and b"\0" not in head.content
        return self if is_text and not head.is_tar else None

    def blocks(self, file: InputFile, options: Options) -> Iterator[Block]:
        """Documents as (local id, bytes); lines before the first match are a document of their own."""
        separator = re.compile(options.split_on.encode()) if options.split_on else None
        with file.open() as stream:
            documents, size_bytes, serial = [], 0, 0
            for content in _documents(stream, file.path, separator):
                if separator is not None and not content.strip():
                    continue
                documents.append((f"{options.source}:{file.name}" + (f"#{serial}" if separator else ""), content))
                serial, size_bytes = serial + 1, size_bytes + len(content)
                if size_bytes >= BLOCK_BYTES:
                    yield Block(documents, size_bytes=size_bytes)
                    documents, size_bytes = [], 0
            if documents:
                yield Block(documents, size_bytes=size_bytes)

    def paper(self, record: Any, options: Options) -> Paper:
        """Decode one document."""
        local_id, content = record
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise Skip("bad_utf8") from None
        return Paper(text=text.strip("\r\n"), local_id=local_id, title=text.strip().split("\n", 1)[0][:200].strip())


def _documents(stream: BinaryIO, path: str, separator: re.Pattern[bytes] | None) -> Iterator[bytes]:
    if separator is None:
        yield read_whole(stream, path)
        return
    waiting, size_bytes = list[bytes](), 0
    for line in lines(stream, path):
        if separator.fullmatch(line.rstrip(b"\r\n")) and waiting:
            yield b"".join(waiting)
            waiting, size_bytes = [], 0
        waiting.append(line)
        size_bytes += len(line)
        if size_bytes > MAX_RECORD_BYTES:
            raise TooLarge(f"{path}: more than {MAX_RECORD_BYTES:,} bytes in one document; the rest is not read")
    yield b"".join(waiting)


class EmptyReader:
    """A file without content: nothing to read, counted as one record that was dropped."""

    name = "empty"

    def sniff(self, head: Head) -> Reader | None:
        """Nothing is there."""
        return self if not head.content and not head.is_tar else None

    def blocks(self, file: InputFile, options: Options) -> Iterator[Block]:
        """Only the count."""
        file.hash_all()
        yield Block([], Counter(empty_file=1))

    def paper(self, record: Any, options: Options) -> Paper:
        """There are no records."""
        raise Skip("empty_file")


class _Row(msgspec.Struct):
    """The keys understood in JSON lines and Parquet rows; all but `text` may be missing, or of another type."""

    needed: ClassVar = frozenset(("text",))

    text: str | None = None
    id: str | int | None = None
    pmcid: str | int | None = None
    pmid: str | int | None = None
    doi: str | None = None
    corpusid: CorpusId | None = None
    title: str | None = None
    year: int | None = None
    journal: str | None = None
    license: str | None = None


_row_decoder = msgspec.json.Decoder(_Row)


def _paper(row: _Row, options: Options, fallback_id: str) -> Paper:
    if not row.text:
        raise Skip("no_text")
    return Paper(
        text=row.text,
        local_id=f"{options.source}:{row.id if row.id not in (None, '') else fallback_id}",
        pmcid=parse_pmcid(row.pmcid),
        pmid=parse_pmid(row.pmid),
        doi=parse_doi(row.doi),
        corpusid=row.corpusid,
        title=row.title or "",
        year=parse_year(row.year),
        journal=row.journal,
        license=row.license,
    )


class JsonlReader:
    """JSON lines with `text` and, where there are, `id` and metadata."""

    name = "jsonl"

    def sniff(self, head: Head) -> Reader | None:
        """By its one key."""
        return self if head.has_keys("text") else None

    def blocks(self, file: InputFile, options: Options) -> Iterator[Block]:
        """Blocks of records, numbered without the empty ones."""
        number = 0
        with file.open() as stream:
            for block in json_blocks(stream, file.name):
                block.records = [(f"{file.name}#{n}", line) for n, line in enumerate(block.records, start=number + 1)]
                number += len(block.records)
                yield block

    def paper(self, record: Any, options: Options) -> Paper:
        """Decode one line."""
        fallback_id, line = record
        row, _ = decode(_row_decoder, line)
        return _paper(row, options, fallback_id)


class ParquetReader:
    """Parquet with a `text` column and, where there are, `id` and metadata columns."""

    name = "parquet"

    def sniff(self, head: Head) -> Reader | None:
        """By its magic number."""
        return self if head.content[:4] == b"PAR1" else None

    def blocks(self, file: InputFile, options: Options) -> Iterator[Block]:
        """Blocks of rows."""
        import pyarrow as pa

        file.hash_all()
        number = 0
        try:
            for rows, size_bytes in table_rows(file, _Row.__struct_fields__, needed="text"):
                named = [(f"{file.name}#{number + i}", row) for i, row in enumerate(rows, start=1)]
                number += len(rows)
                yield Block(named, Counter(), size_bytes)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file.path}: cannot be read as Parquet ({error})") from error

    def paper(self, record: Any, options: Options) -> Paper:
        """Decode one row."""
        fallback_id, values = record
        try:
            row = msgspec.convert(values, _Row)
        except msgspec.ValidationError:
            row, _ = convert(values, _Row, "bad_row")
        return _paper(row, options, fallback_id)
