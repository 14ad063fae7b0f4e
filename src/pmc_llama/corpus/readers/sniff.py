"""Which reader reads a file: as the recipe says, or by the file's first bytes."""

import re

from pmc_llama.corpus.readers.base import Reader
from pmc_llama.corpus.readers.bioc import BiocReader, BiocTarReader
from pmc_llama.corpus.readers.jats_files import JatsReader, JatsTarReader
from pmc_llama.corpus.readers.plain import EmptyReader, JsonlReader, ParquetReader, TextReader
from pmc_llama.corpus.readers.s2orc_legacy import S2orcLegacyReader
from pmc_llama.corpus.readers.s2orc_v1 import S2orcV1Reader
from pmc_llama.corpus.readers.s2orc_v2 import S2orcV2Reader
from pmc_llama.corpus.readers.tar import first_content, is_tar
from pmc_llama.corpus.storage import read_head
from pmc_llama.errors import InputError

READERS: dict[str, Reader] = {
    reader.name: reader
    for reader in (
        *(S2orcV1Reader(), S2orcV2Reader(), S2orcLegacyReader(), JatsReader(), BiocReader()),
        *(TextReader(), JsonlReader(), ParquetReader(), EmptyReader()),
    )
}
JSON_KEYS = (
    ("s2orc_v1", ("corpusid", "externalids", "content")),
    ("s2orc_v1", ("content", "annotations")),  # written with sorted keys, the ids stand behind the text
    ("s2orc_v2", ("corpusid", "body")),
    ("bioc", ("documents", "infons")),
    ("bioc", ("passages", "infons")),
    ("s2orc_legacy", ("paper_id", "abstract")),
    ("s2orc_legacy", ("paper_id", "body_text")),
    ("s2orc_v2", ("body", "annotations")),
    ("jsonl", ("text",)),
)
JSON_FORMATS = {name for name, _ in JSON_KEYS}
TAR_READERS: dict[str, Reader] = {"jats": JatsTarReader(), "bioc": BiocTarReader()}


def reader_for(path: str, stated: str) -> Reader:
    """The reader of a file. Raises InputError when the content is not what is stated, or nothing known."""
    head = read_head(path)
    if not head:
        return READERS["empty"]
    if head.startswith(b"%PDF-"):
        raise InputError(
            f"{path}: PDF is not read; convert it with `pdftotext FILE.pdf FILE.txt` (poppler-utils) to text, or with "
            "doc2json to `s2orc_legacy`, and name the converted files in `paths`"
        )
    found = _sniff(head)
    if found is None and stated == "auto":
        raise InputError(f"{path}: the format is not recognised by its content; give `format` in the recipe")
    name = _agree(found, stated) or ""
    readers = TAR_READERS if is_tar(head) else READERS
    if name not in readers:
        raise InputError(f"{path}: the recipe says format {stated}, but the content is {found}")
    return readers[name]


def _agree(found: str | None, stated: str) -> str | None:
    """The format to read; None when what is stated cannot be. Every JSON record is also a line and a text."""
    if stated in ("auto", found):
        return found
    general = {"text": {"text", *JSON_FORMATS}, "jsonl": JSON_FORMATS}.get(stated)
    if general is not None:
        return stated if found in general else None
    unspecific = found is None or (found == "jsonl" and stated in JSON_FORMATS)
    return stated if unspecific else None


def _sniff(head: bytes) -> str | None:
    """The format that the first bytes show; None when they show none that we know."""
    if is_tar(head):
        return "bioc" if first_content(head).lstrip()[:1] in (b"{", b"[") else "jats"
    if head[:4] == b"PAR1":
        return "parquet"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start[:1] == b"<":
        return "jats" if re.search(rb"<(\w+:)?(article|pmc-articleset|OAI-PMH)\b", start) else None
    if start[:1] in b"{[":
        return _sniff_json(start)
    return None if b"\0" in head else "text"


def _sniff_json(head: bytes) -> str | None:
    """By the keys that the head shows; the first that fits stands, as some keys occur in several formats."""
    keys = set(re.findall(rb'"(\w+)"\s*:', head))
    for name, needed in JSON_KEYS:
        if {key.encode() for key in needed} <= keys:
            return name
    return None
