"""What a reader is: `blocks` cuts an input into records cheaply, `paper` turns one record into a Paper."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Protocol

import msgspec

from pmc_llama.corpus.paper import Counts, Paper
from pmc_llama.corpus.storage import InputFile
from pmc_llama.errors import InputError

BLOCK_BYTES = 16 * 2**20
"""Uncompressed bytes in one block of records; with the longest record it bounds a worker's memory."""
MAX_RECORD_BYTES = 2**28
"""A line longer than this is not a record of any known source, but a file of another kind."""


class Block(msgspec.Struct):
    """Records of one input file in their order, and how many were dropped on the way by their first bytes alone."""

    records: list[Any]
    dropped: Counts = msgspec.field(default_factory=Counter)
    size_bytes: int = 0

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


class Reader(Protocol):
    """One input format."""

    name: str

    def blocks(self, file: InputFile, options: Options) -> Iterator[Block]:
        """Cut the input into blocks of raw records. Raises InputError when the file as a whole cannot be read."""
        ...

    def paper(self, record: Any, options: Options) -> Paper:
        """Decode one record. Raises Skip with the reason when it yields no paper."""
        ...


def line_blocks(stream: BinaryIO, name: str) -> Iterator[list[bytes]]:
    """Lists of whole lines without their ends, about BLOCK_BYTES each; the content alone says where they are cut."""
    rest = b""
    while chunk := stream.read(BLOCK_BYTES):
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        if len(rest) > MAX_RECORD_BYTES:
            raise InputError(f"{name}: a line is longer than {MAX_RECORD_BYTES:,} bytes; this is no file of records")
        yield lines
    if rest:
        yield [rest]
