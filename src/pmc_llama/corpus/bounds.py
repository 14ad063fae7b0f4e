"""How far an input may grow while it is read: bounds that hold wherever bytes are decompressed or taken as a whole.

What one input may be does not depend on the machine, so that a corpus is the same everywhere; a machine that is too
small for an input that is allowed says so.
"""

import gzip
import io
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import psutil
from isal import igzip

from pmc_llama.errors import InputError

MAX_RECORD_BYTES = 2**28
"""A line, a document or a member of a tarball that is larger is not a record of any known source."""
MAX_RATIO = 200
"""Uncompressed bytes for each byte of a file. Text of papers takes 3 to 10; a file of zeros up to 1,032."""
RATIO_FROM_BYTES = 2**26
"""Uncompressed bytes from which on the ratio counts: what is smaller harms nobody."""
MEMORY_SHARE = 1 / 8
"""Of the memory that is free: the most that the content of one record may take. Decoded it is a few times as large."""
CHUNK_BYTES = 2**20


class TooLarge(InputError):
    """An input that grows beyond the bounds: it is counted as a failure of that input, and the others are read."""


def check_growth(path: str, size_bytes: int, stored_bytes: int) -> None:
    """Raise TooLarge where `stored_bytes` of a file became `size_bytes` of content, and no text does that."""
    if size_bytes > RATIO_FROM_BYTES and size_bytes > MAX_RATIO * stored_bytes:
        raise TooLarge(
            f"{path}: {stored_bytes:,} bytes became {size_bytes:,} and more; no text is compressed more than "
            f"{MAX_RATIO} to 1, so the rest is not read"
        )


def read_whole(stream: BinaryIO, path: str) -> bytes:
    """The rest of a stream. Raises TooLarge where that is no record, InputError where this machine cannot hold it."""
    content = io.BytesIO()
    allowed = min(MAX_RECORD_BYTES, 16 * CHUNK_BYTES)
    while chunk := stream.read(CHUNK_BYTES):
        if content.tell() + len(chunk) > allowed:
            allowed = _more(content.tell() + len(chunk), path)
        content.write(chunk)
    return content.getvalue()


def lines(stream: BinaryIO, path: str) -> Iterator[bytes]:
    """The lines of a stream with their ends. Raises TooLarge for one that is no record."""
    while line := stream.readline(MAX_RECORD_BYTES + 1):
        if len(line) > MAX_RECORD_BYTES:
            raise TooLarge(f"{path}: a line is longer than {MAX_RECORD_BYTES:,} bytes; the rest is not read")
        yield line


def _more(size_bytes: int, path: str) -> int:
    """The most bytes that a record of at least `size_bytes` may have here."""
    if size_bytes > MAX_RECORD_BYTES:
        raise TooLarge(f"{path}: more than {MAX_RECORD_BYTES:,} bytes in one document; the rest is not read")
    here = int((psutil.virtual_memory().available + size_bytes) * MEMORY_SHARE)
    if size_bytes > here:
        raise InputError(
            f"{path}: a document of more than {size_bytes:,} bytes needs more memory than is free here: use fewer "
            "`workers`, or another machine"
        )
    return min(MAX_RECORD_BYTES, here)


class Gunzipped(igzip.IGzipFile):  # type: ignore[misc]
    """The content of a gzip stream, checked for its growth at each read. A line is no longer than a record."""

    def __init__(self, raw: Any, path: str, stored_bytes: Callable[[], int]) -> None:
        super().__init__(fileobj=raw, mode="rb")
        self._path, self._stored_bytes, self._size_bytes = path, stored_bytes, 0

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes. Raises TooLarge beyond the bounds."""
        if size is None or size < 0:
            return read_whole(self, self._path)
        return self._checked(super().read(size))

    def read1(self, size: int = -1) -> bytes:
        """At most `size` bytes. Raises TooLarge beyond the bounds."""
        return self._checked(super().read1(size if size >= 0 else CHUNK_BYTES))

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer. Raises TooLarge beyond the bounds."""
        content = self.read(memoryview(buffer).nbytes)
        memoryview(buffer).cast("B")[: len(content)] = content
        return len(content)

    def readline(self, size: int | None = -1) -> bytes:
        """The next line. Raises TooLarge for one that is no record."""
        if size is not None and size >= 0:
            return self._checked(super().readline(size))
        return next(lines(self, self._path), b"")

    def _checked(self, content: bytes) -> bytes:
        self._size_bytes += len(content)
        if self._size_bytes > RATIO_FROM_BYTES:
            check_growth(self._path, self._size_bytes, self._stored_bytes())
        return content


def gunzip(content: bytes, path: str) -> bytes:
    """What a whole gzip file holds. Raises TooLarge beyond the bounds, InputError where it is no gzip."""
    pieces, size_bytes = [], 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                pieces.append(chunk)
                size_bytes += len(chunk)
                check_growth(path, size_bytes, len(content))
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read to its end ({error})") from error
    return b"".join(pieces)
