"""Input files, plain or gzip: opened once, hashed and counted while they are read."""

import hashlib
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from isal import igzip

from pmc_llama.errors import InputError

GZIP_MAGIC = b"\x1f\x8b"
SNIFF_BYTES = 2**16


class _Metered(io.RawIOBase):
    """A raw stream that tells `feed` of every byte read through it."""

    def __init__(self, raw: io.RawIOBase, feed: Callable[[memoryview], None]) -> None:
        self._raw, self._feed = raw, feed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._raw.readinto(buffer) or 0
        if count:
            self._feed(memoryview(buffer)[:count])
        return count


class InputFile:
    """One input file. After it was read, `sha256` and `size_bytes` describe its bytes as they lie on disk.

    `hashed` false leaves the hash out, for readers that do not record it.
    """

    def __init__(
        self, path: str, name: str | None = None, on_bytes: Callable[[int], None] | None = None, hashed: bool = True
    ) -> None:
        self.path = path
        self.name = name if name is not None else Path(path).name
        self.size_bytes = 0
        self._hash = hashlib.sha256() if hashed else None
        self._on_bytes = on_bytes

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the bytes read so far; empty where it was left out."""
        return self._hash.hexdigest() if self._hash is not None else ""

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The uncompressed content. What cannot be read raises InputError naming the file."""
        with self._reading(), Path(self.path).open("rb", buffering=0) as file:
            raw = io.BufferedReader(_Metered(file, self._feed), 2**20)
            gzipped = raw.peek(2)[:2] == GZIP_MAGIC
            yield cast(BinaryIO, igzip.IGzipFile(fileobj=raw)) if gzipped else cast(BinaryIO, raw)
            while raw.read(2**20):  # what the reader had no use for is part of the file all the same
                pass

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise InputError(f"{self.path}: there is no such file") from None
        except (OSError, EOFError, zlib.error) as error:  # BadGzipFile is an OSError
            raise InputError(f"{self.path}: cannot be read to its end ({error})") from error

    def read_all(self) -> bytes:
        """The whole uncompressed content."""
        with self.open() as stream:
            return stream.read()

    def hash_all(self) -> None:
        """Read the file once as it lies, for readers that jump about in it themselves."""
        with self._reading(), Path(self.path).open("rb") as file:
            while chunk := file.read(2**20):
                self._feed(memoryview(chunk))

    def _feed(self, content: memoryview) -> None:
        if self._hash is not None:
            self._hash.update(content)
        self.size_bytes += len(content)
        if self._on_bytes is not None:
            self._on_bytes(len(content))


def read_head(path: str, count: int = SNIFF_BYTES) -> bytes:
    """The first bytes of the uncompressed content, as many as can be read. Raises InputError when it cannot be."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(count)
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error})") from error
    if head[:2] != GZIP_MAGIC:
        return head
    try:
        return zlib.decompressobj(wbits=31).decompress(head, count)
    except zlib.error as error:
        raise InputError(f"{path}: begins like gzip, but is not ({error})") from error
