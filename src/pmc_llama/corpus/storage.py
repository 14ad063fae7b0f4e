"""Input files, local or remote (fsspec), plain or gzip: opened once, hashed and counted while they are read."""

import codecs
import glob
import hashlib
import io
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from isal.igzip_lib import IsalError

from pmc_llama.corpus.addresses import as_given, filesystem, is_pattern, is_remote, told_plainly
from pmc_llama.corpus.bounds import Gunzipped, TooLarge, read_whole
from pmc_llama.errors import InputError

GZIP_MAGIC = b"\x1f\x8b"
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
SNIFF_BYTES = 2**16
BUFFER_BYTES = 2**16
"""Small, so that larger reads go past the buffer and bytes that were hashed are still in the processor's cache."""
READ_BYTES = 2**20


def open_raw(path: str) -> BinaryIO:
    """The bytes of a file as they lie."""
    if not is_remote(path):
        return cast(BinaryIO, Path(path).open("rb", buffering=0))
    store, inner = filesystem(path)
    with told_plainly(path):
        return cast(BinaryIO, store.open(inner, "rb"))


def find(pattern: str) -> list[str]:
    """The files that a path or URL with wildcards names, sorted."""
    if not is_remote(pattern):
        if Path(pattern).is_file():
            return [pattern]  # a name that holds brackets or a star itself
        return sorted(path for path in glob.glob(pattern, recursive=True) if _is_input(Path(path)))  # noqa: PTH207
    store, inner = filesystem(pattern)
    with told_plainly(pattern):
        if not is_pattern(pattern):
            return [pattern] * bool(store.isfile(inner))
        return sorted(as_given(str(store.unstrip_protocol(path)), pattern) for path in store.glob(inner))


def _is_input(path: Path) -> bool:
    """Whether a wildcard's match is a file. Raises InputError for what only looks like one: it would be left out."""
    if path.is_file():
        return True
    if path.is_symlink() and not path.exists():
        raise InputError(f"{str(path)!r} is a link to {str(path.readlink())!r}, which is not there")
    if path.is_dir():
        if path.suffix in (".gz", ".jsonl", ".json", ".parquet", ".xml", ".nxml", ".tar"):
            raise InputError(f"{str(path)!r} is a folder, although it is named like an input file")
        return False
    raise InputError(f"{str(path)!r} is neither a file nor a folder, so it cannot be read as an input")


class Stat(NamedTuple):
    """What tells that a file is still the same."""

    size_bytes: int
    stamp: str
    """Time of change, or what the store has in its place."""


def stat(path: str) -> Stat:
    """Size and stamp of a file. Raises InputError when there is none."""
    try:
        if not is_remote(path):
            local = os.stat(path)  # noqa: PTH116 - paths are plain strings here
            return Stat(local.st_size, str(local.st_mtime_ns))
        store, inner = filesystem(path)
        with told_plainly(path):
            info = store.info(inner)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    stamps = (info.get(key) for key in ("ETag", "etag", "LastModified", "mtime", "created"))
    return Stat(int(info.get("size") or 0), next((str(stamp) for stamp in stamps if stamp is not None), ""))


def read_optional(path: str) -> bytes | None:
    """The content of a small file that need not be there; None when it is not."""
    try:
        with open_raw(path) as file:
            return read_whole(file, path)
    except FileNotFoundError:
        return None


class _Metered(io.RawIOBase):
    """A raw stream that tells `feed` of every byte read through it."""

    def __init__(self, raw: Any, feed: Callable[[memoryview], None]) -> None:
        self._raw, self._feed = raw, feed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._raw.readinto(buffer) or 0
        if count:
            self._feed(memoryview(buffer)[:count])
        return int(count)


class InputFile:
    """One input file. After it was read, `sha256` and `size_bytes` describe its bytes as they lie in their place.

    `hashed` false leaves the hash out, for readers that do not record it.
    """

    def __init__(
        self, path: str, name: str | None = None, on_bytes: Callable[[int], None] | None = None, hashed: bool = True
    ) -> None:
        self.path = path
        self.name = name if name is not None else path.rpartition("/")[2]
        self.size_bytes = 0
        self._hash = hashlib.sha256() if hashed else None
        self._on_bytes = on_bytes

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the bytes read so far; empty where it was left out."""
        return self._hash.hexdigest() if self._hash is not None else ""

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The uncompressed content; text as UTF-8 without byte order mark, whether it was UTF-8 or UTF-16.

        What cannot be read raises InputError naming the file.
        """
        with self._reading(), open_raw(self.path) as file:
            raw = io.BufferedReader(_Metered(file, self._feed), BUFFER_BYTES)
            gzipped = raw.peek(2)[:2] == GZIP_MAGIC
            content = Gunzipped(raw, self.path, lambda: self.size_bytes) if gzipped else raw
            try:
                yield _without_mark(cast(BinaryIO, content))
            except TooLarge:
                _read_off(raw)
                raise
            _read_off(raw)

    def read_all(self) -> bytes:
        """The whole uncompressed content. Raises TooLarge where that is no record."""
        with self.open() as stream:
            return read_whole(stream, self.path)

    def hash_all(self) -> None:
        """Read the file once as it lies, for readers that jump about in it themselves."""
        with self._reading(), open_raw(self.path) as file:
            while chunk := file.read(READ_BYTES):
                self._feed(memoryview(chunk))

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise InputError(f"{self.path}: there is no such file") from None
        except (OSError, EOFError, IsalError) as error:  # type: ignore[misc]  # the stub calls it an instance
            raise InputError(f"{self.path}: cannot be read to its end ({as_given(str(error), self.path)})") from None

    def _feed(self, content: memoryview) -> None:
        if self._hash is not None:
            self._hash.update(content)
        self.size_bytes += len(content)
        if self._on_bytes is not None:
            self._on_bytes(len(content))


def _read_off(raw: Any) -> None:
    """Read what the reader had no use for: it is part of the file, and of its hash, all the same."""
    while raw.read(READ_BYTES):
        pass


class _Recoded(io.RawIOBase):
    """A stream of UTF-16 as UTF-8."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-16")("replace")
        self._waiting = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._waiting:
            chunk = self._stream.read(BUFFER_BYTES)
            self._waiting = self._decoder.decode(chunk, final=not chunk).encode("utf-8", "replace")
            if not chunk and not self._waiting:
                return 0
        count = min(len(buffer), len(self._waiting))
        buffer[:count], self._waiting = self._waiting[:count], self._waiting[count:]
        return count


def _without_mark(stream: BinaryIO) -> BinaryIO:
    """A stream behind its byte order mark, as UTF-8."""
    head = stream.peek(4)  # type: ignore[attr-defined]
    if head.startswith(codecs.BOM_UTF8):
        stream.read(len(codecs.BOM_UTF8))
    return cast(BinaryIO, io.BufferedReader(_Recoded(stream))) if head.startswith(UTF16_MARKS) else stream


def as_utf8(content: bytes) -> bytes:
    """A text as UTF-8 without byte order mark, whether it was UTF-8 or UTF-16; the same object when it was already."""
    if content.startswith(UTF16_MARKS):
        return content.decode("utf-16", "replace").encode("utf-8", "replace")
    return content.removeprefix(codecs.BOM_UTF8)


def read_head(path: str, count: int = SNIFF_BYTES) -> bytes:
    """The first bytes of the content as `InputFile` gives it, as many as can be read. Raises InputError for none."""
    try:
        with open_raw(path) as file:
            head = file.read(count)
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({as_given(str(error), path)})") from None
    return as_utf8(_decompressed(head, path, count) if head[:2] == GZIP_MAGIC else head)


def _decompressed(head: bytes, path: str, count: int) -> bytes:
    """What the first bytes of a gzip file hold, over as many of its members as they show (the first may be empty)."""
    content = b""
    while head[:2] == GZIP_MAGIC and len(content) < count:
        member = zlib.decompressobj(wbits=31)
        try:
            content += member.decompress(head, count - len(content))
        except zlib.error as error:
            if content:
                break  # what follows a whole member is told when the file is read
            raise InputError(f"{path}: begins like gzip, but is not ({error})") from error
        head = member.unused_data
    return content
