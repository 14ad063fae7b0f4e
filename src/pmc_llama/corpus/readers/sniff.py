"""Which reader reads a file: as the recipe says, or by the file's first bytes."""

import re

from pmc_llama.corpus.readers.base import Reader
from pmc_llama.corpus.readers.jats_files import JatsReader, JatsTarReader
from pmc_llama.corpus.readers.plain import EmptyReader, JsonlReader, ParquetReader, TextReader
from pmc_llama.corpus.readers.s2orc_v1 import S2orcV1Reader
from pmc_llama.corpus.storage import read_head
from pmc_llama.errors import InputError

READERS: dict[str, Reader] = {
    reader.name: reader
    for reader in (S2orcV1Reader(), JatsReader(), TextReader(), JsonlReader(), ParquetReader(), EmptyReader())
}
JATS_TAR = JatsTarReader()


def reader_for(path: str, stated: str) -> Reader:
    """The reader of a file. Raises InputError when the content is not what is stated, or nothing known."""
    head = read_head(path)
    if not head:
        return READERS["empty"]
    found = _sniff(head)
    if found is None and stated == "auto":
        raise InputError(f"{path}: the format is not recognised by its content; give `format` in the recipe")
    if found is None or stated in ("auto", found):
        name = found if found is not None else stated
    elif stated in ("text", "jsonl") and found in ("text", "jsonl", "s2orc_v1"):
        name = stated  # every JSON line is also text
    else:
        raise InputError(f"{path}: the recipe says format {stated}, but the content is {found}")
    return JATS_TAR if name == "jats" and _is_tar(head) else READERS[name]


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def _sniff(head: bytes) -> str | None:
    """The format that the first bytes show; None when they show none that we know."""
    if _is_tar(head):
        return "jats"
    if head[:4] == b"PAR1":
        return "parquet"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start[:1] == b"<":
        return "jats" if re.search(rb"<(\w+:)?(article|pmc-articleset|OAI-PMH)\b", start) else None
    if start[:1] == b"{":
        return _sniff_json(start.split(b"\n", 1)[0])
    return None if b"\0" in head else "text"


def _sniff_json(line: bytes) -> str | None:
    keys = {key for key in (b"corpusid", b"externalids", b"content", b"text") if re.search(rb'"%s"\s*:' % key, line)}
    if {b"corpusid", b"content"} <= keys:
        return "s2orc_v1"
    return "jsonl" if b"text" in keys else None
