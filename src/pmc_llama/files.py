"""Files that are whole or absent: atomic writes, hashes and JSON, used by every room."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pmc_llama.errors import InputError

T = TypeVar("T")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield `path` + ".partial" to write to; on success flush it to disk and rename it onto `path`.

    A crash leaves at most a `.partial` file, which nothing reads and the next run overwrites.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
    except BaseException:
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


def tree_hashes(root: Path, paths: Iterable[Path], ignore: Iterable[str] = ()) -> dict[str, str]:
    """SHA-256 of every file at or below `paths`, which are relative to `root`, by its name there."""
    left_out = set(ignore)
    files = [file for path in paths for file in files_below(root / path) if file.name not in left_out]
    return {file.relative_to(root).as_posix(): sha256_file(file) for file in sorted(files)}


def files_below(path: Path) -> list[Path]:
    """The file itself, or all files of a folder."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file() or file.is_symlink())
    return [path] if path.exists() or path.is_symlink() else []


def digest_of(parts: Mapping[str, str]) -> str:
    """One hash over hashes by name."""
    return sha256_json(dict(parts))


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
