"""Members of tarballs: streamed in their order, never unpacked, none trusted."""

import io
import tarfile
from collections.abc import Iterator
from typing import NamedTuple

from pmc_llama.corpus.readers.base import MAX_RECORD_BYTES
from pmc_llama.corpus.storage import InputFile
from pmc_llama.errors import InputError


class Member(NamedTuple):
    """A member with one of the suffixes asked for: its content, or the reason not to read it."""

    name: str
    content: bytes
    refused: str | None = None


def is_tar(head: bytes) -> bool:
    """Whether these are the first bytes of a tarball."""
    return head[257:262] == b"ustar"


def first_content(head: bytes) -> bytes:
    """What the first bytes of a tarball show of its first regular member; empty when they show none."""
    try:
        with tarfile.open(fileobj=io.BytesIO(head), mode="r|") as archive:
            for member in archive:
                if member.isreg() and member.size:
                    return head[member.offset_data : member.offset_data + member.size]
    except (tarfile.TarError, OSError, ValueError):  # the head ends before the member does
        pass
    return b""


def members(file: InputFile, suffixes: tuple[str, ...]) -> Iterator[Member]:
    """The members of a tarball whose names end so. Raises InputError when it cannot be read to its end, or has none."""
    found = 0
    with file.open() as stream:
        try:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    if not member.name.endswith(suffixes):
                        continue
                    found += 1
                    reason = _refusal(member)
                    content = archive.extractfile(member) if reason is None else None
                    yield Member(member.name, content.read() if content is not None else b"", reason)
        except (tarfile.TarError, ValueError) as error:  # ValueError: numbers in a header that are none
            raise InputError(f"{file.path}: the tarball cannot be read to its end ({error})") from error
    if not found:
        raise InputError(f"{file.path}: the tarball holds no file named {' or '.join('*' + end for end in suffixes)}")


def _refusal(member: tarfile.TarInfo) -> str | None:
    """The reason not to read a member. Nothing is ever written to its path, but a hostile one is not trusted either."""
    if not member.isreg():
        return "not_a_regular_file"
    if member.name.startswith("/") or ".." in member.name.split("/"):
        return "unsafe_member_name"
    return "too_large" if member.size > MAX_RECORD_BYTES else None
