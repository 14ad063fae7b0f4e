"""Files that are whole or absent: atomic writes, hashes and JSON, used by every room."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pmc_llama.errors import InputError, StorageError

T = TypeVar("T")


STORAGE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EIO),
    *(
        errno.EEXIST,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
    ),  # a file or link where a folder is to be
)
"""What goes wrong with a place to write, and not with the program."""


@contextmanager
def told_where(path: Path) -> Iterator[None]:
    """Raise StorageError, which names the file, where the block cannot write."""
    try:
        yield
    except OSError as error:
        if error.errno not in STORAGE:
            raise
        raise StorageError(storage_sentence(error, path)) from error


def storage_sentence(error: OSError, path: Path | None = None) -> str:
    """Which file cannot be written, and why."""
    place = path or error.filename or "a file"
    reason = os.strerror(error.errno or 0)
    return f"{place} cannot be written: {reason}; what is finished is kept, and the same command goes on"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield `path` + ".partial" to write to; on success flush it to disk and rename it onto `path`.

    A crash leaves at most a `.partial` file, which nothing reads and the next run overwrites.
    """
    partial = path.with_name(path.name + ".partial")
    with told_where(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        descriptor = os.open(partial, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        partial.replace(path)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, atomically."""
    with atomic_path(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write `content` to `path` as UTF-8, atomically."""
    write_bytes(path, content.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON, atomically; the same value gives the same bytes."""
    write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """`value` as indented JSON; the same value gives the same bytes."""
    return msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=2) + b"\n"


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return msgspec.json.decode(path.read_bytes())


def read_record(path: Path, kind: type[T]) -> T:
    """Read a JSON file into its record type; keys that the type lacks are ignored.

    Raises InputError naming the file and the place where it is not of that type.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except msgspec.DecodeError as error:  # ValidationError is one
        raise InputError(f"{path} is damaged, or of another version: {error}") from None


def sha256_bytes(content: bytes) -> str:
    """Hex SHA-256 of `content`."""
    return hashlib.sha256(content).hexdigest()


def sha256_text(content: str) -> str:
    """Hex SHA-256 of `content` as UTF-8."""
    return sha256_bytes(content.encode())


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's content, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hex SHA-256 of a JSON value, independent of the order of its keys."""
    return sha256_bytes(msgspec.json.encode(value, order="deterministic"))


def files_below(path: Path) -> list[Path]:
    """The file itself, or all files of a folder."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file() or file.is_symlink())
    return [path] if path.exists() or path.is_symlink() else []


def link_tree(source: Path, out: Path) -> None:
    """Give `out` the files of `source`, as hard links, or as copies on another file system; what is there stays.

    For files that are replaced and never changed, as all that `atomic_path` writes.
    """
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        target = out / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            continue
        try:
            target.hardlink_to(file)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK):
                raise
            with atomic_path(target) as partial:
                shutil.copyfile(file, partial)
