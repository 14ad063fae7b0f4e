"""What a reader is: `blocks` cuts an input into records cheaply, `paper` turns one record into a Paper."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple, Protocol

import msgspec

from pmc_llama.corpus.bounds import MAX_RECORD_BYTES, TooLarge, read_whole
from pmc_llama.corpus.paper import Counts, Paper, Skip
from pmc_llama.corpus.storage import InputFile

BLOCK_BYTES = 16 * 2**20
"""Uncompressed bytes in one block of records; with the longest record it bounds a worker's memory."""
READ_BYTES = 2**20


class Block(msgspec.Struct):
    """Records of one input file in their order, and how many were dropped on the way by their first bytes alone."""

    records: list[Any]
    dropped: Counts = msgspec.field(default_factory=Counter)
    size_bytes: int = 0
    unread: list[str] = []
    """Files that gave no record, with the reason."""

    @property
    def seen(self) -> int:
        """Records taken from the input: those handed on and those dropped."""
        return len(self.records) + sum(self.dropped.values())


Quick = Callable[[int | None, int | None], str | None]
"""(corpusid, the record's own pmcid) -> reason to drop the record, or None to read it whole."""


class Options(msgspec.Struct):
    """What the recipe and the selection ask of a reader."""

    source: str
    """Name of the source: the beginning of the id of a document that has no other."""
    kinds: frozenset[str] | None = None
    """Kinds of spans wanted (None: all)."""
    quick: Quick | None = None
    """Selection on ids alone, for readers that can see them without decoding the record."""
    split_on: str | None = None


class Head(NamedTuple):
    """What the first bytes of a file show, by which readers tell their format."""

    content: bytes
    """Without byte order mark and blanks at the start; of a tarball, those of its first file."""
    json_keys: frozenset[bytes] = frozenset()
    """The keys, on any level, where the content begins as JSON does."""
    is_tar: bool = False

    def has_keys(self, *names: str) -> bool:
        """Whether all these keys are among those of a JSON file, not of a tarball."""
        return not self.is_tar and {name.encode() for name in names} <= self.json_keys


class Reader(Protocol):
    """One input format."""

    name: str

    def sniff(self, head: Head) -> "Reader | None":
        """What reads this content where it is of this format: itself, or its reader of tarballs."""
        ...

    def blocks(self, file: InputFile, options: Options) -> Iterator[Block]:
        """Cut the input into blocks of raw records. Raises InputError when the file as a whole cannot be read."""
        ...

    def paper(self, record: Any, options: Options) -> Paper:
        """Decode one record. Raises Skip with the reason when it yields no paper."""
        ...


def require_paragraphs(paper: Paper) -> None:
    """Raises Skip for a paper of which no paragraph is marked: what is body and what is not cannot be told."""
    if not any(span.kind == "paragraph" for span in paper.spans):
        raise Skip("no_paragraphs")


def scan_lines(stream: BinaryIO, name: str) -> Iterator[tuple[bytes, int, int]]:
    """(buffer, start, end) of each line without its end; slicing is left to who wants the line.

    Buffers are small enough to stay in the processor's cache, and a line that nobody wants is never copied.
    """
    waiting: list[bytes] = []  # pieces of a line whose end was not read yet
    waiting_bytes = 0
    while chunk := stream.read1(READ_BYTES):  # type: ignore[attr-defined]
        end = chunk.find(b"\n")
        if end < 0:
            waiting.append(chunk)
            waiting_bytes += len(chunk)
            if waiting_bytes > MAX_RECORD_BYTES:
                raise TooLarge(f"{name}: a line is longer than {MAX_RECORD_BYTES:,} bytes; this is no file of records")
            continue
        if waiting:
            line = b"".join([*waiting, chunk[:end]])
            yield line, 0, len(line)
        else:
            yield chunk, 0, end
        start = end + 1
        while (end := chunk.find(b"\n", start)) >= 0:
            yield chunk, start, end
            start = end + 1
        waiting = [chunk[start:]] if start < len(chunk) else []
        waiting_bytes = len(chunk) - start
    if waiting:
        line = b"".join(waiting)
        yield line, 0, len(line)


def line_blocks(
    stream: BinaryIO, name: str, refuse: Callable[[bytes, int, int], str | None] | None = None
) -> Iterator[Block]:
    """Blocks of lines, empty and blank ones left out; the content alone says where they are cut.

    `refuse` gives the reason to drop the line that stands in a buffer from `start` to `end`, or None.
    """
    block = Block([])
    try:
        for buffer, start, end in scan_lines(stream, name):
            if start < end and (end - start > 64 or buffer[start:end].strip()):
                reason = refuse(buffer, start, end) if refuse is not None else None
                if reason is None:
                    block.records.append(buffer[start:end])
                else:
                    block.dropped[reason] += 1
            block.size_bytes += end - start + 1
            if block.size_bytes >= BLOCK_BYTES:
                yield block
                block = Block([])
    except TooLarge:
        yield block  # what stands before it is read all the same
        raise
    if block.size_bytes:
        yield block


def json_blocks(
    stream: BinaryIO, name: str, refuse: Callable[[bytes, int, int], str | None] | None = None
) -> Iterator[Block]:
    """Blocks of JSON records: one per line, or the file's one value over many lines; of a list, its entries.

    `refuse` is asked for lines only.
    """
    if not _is_one_value(stream.peek(READ_BYTES)):  # type: ignore[attr-defined]
        yield from line_blocks(stream, name, refuse)
        return
    content = read_whole(stream, name)
    block = Block([])
    for record in _entries(content):
        block.records.append(record)
        block.size_bytes += len(record)
        if block.size_bytes >= BLOCK_BYTES:
            yield block
            block = Block([])
    yield block


def _is_one_value(head: bytes) -> bool:
    """Whether a file begins with a list, or with an object that goes on in its second line."""
    first, newline, rest = head.lstrip().partition(b"\n")
    if first[:1] == b"[":
        return True
    return bool(newline and rest) and first[:1] == b"{" and first.rstrip()[-1:] != b"}" and rest[:1] != b"{"


def _entries(content: bytes) -> list[bytes]:
    try:
        return [bytes(entry) for entry in _list_decoder.decode(content)]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return [content]


_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
