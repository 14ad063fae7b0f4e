"""Members of tarballs: streamed in their order, never unpacked, none trusted."""

import io
import tarfile
from collections.abc import Iterator
from typing import NamedTuple, Self

from pmc_llama.corpus.bounds import MAX_RECORD_BYTES, TooLarge
from pmc_llama.corpus.storage import InputFile
from pmc_llama.errors import InputError

MAX_HEADER_BYTES = 2**20
"""A name, a link or further headers of a member that are longer are none."""
_LONG_HEADERS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)


class _Header(tarfile.TarInfo):
    """A header of a tarball; those that the library takes into memory as they come are of a header's size."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str | None, errors: str) -> Self:
        """The header in a block. Raises TooLarge for a name or a list of attributes that is as large as a file."""
        found = super().frombuf(buf, encoding, errors)  # type: ignore[arg-type]
        if found.type in _LONG_HEADERS and found.size > MAX_HEADER_BYTES:
            raise TooLarge(f"the header of a member is {found.size:,} bytes long")
        return found


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
        with tarfile.open(fileobj=io.BytesIO(head), mode="r|", tarinfo=_Header) as archive:
            for member in archive:
                if member.isreg() and member.size:
                    return head[member.offset_data : member.offset_data + member.size]
    except (tarfile.TarError, OSError, ValueError, TooLarge):  # the head ends before the member does
        pass
    return b""


def members(file: InputFile, suffixes: tuple[str, ...]) -> Iterator[Member]:
    """The members of a tarball whose names end so. Raises InputError when it cannot be read to its end, or has none."""
    found = 0
    with file.open() as stream:
        try:
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as archive:
                for member in archive:
                    if not member.name.endswith(suffixes):
                        continue
                    found += 1
                    reason = _refusal(member)
                    content = archive.extractfile(member) if reason is None else None
                    yield Member(member.name, content.read() if content is not None else b"", reason)
        except TooLarge as error:
            raise TooLarge(f"{file.path}: {str(error).removeprefix(f'{file.path}: ')}") from None
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
