"""Which reader reads a file: as the recipe says, or by the file's first bytes."""

import re

from pmc_llama.corpus.readers.base import Head, Reader
from pmc_llama.corpus.readers.plain import EmptyReader
from pmc_llama.corpus.readers.tar import first_content, is_tar
from pmc_llama.corpus.storage import read_head
from pmc_llama.errors import InputError
from pmc_llama.recipe.registry import FORMATS, load

READERS: dict[str, Reader] = {"empty": EmptyReader()} | {name: load(line.reader)() for name, line in FORMATS.items()}
BOM = b"\xef\xbb\xbf"
KEY = re.compile(rb'"(\w+)"\s*:')


def reader_for(path: str, stated: str) -> Reader:
    """The reader of a file. Raises InputError when the content is not what is stated, or nothing known."""
    raw = read_head(path)
    if raw.startswith(b"%PDF-"):
        raise InputError(
            f"{path}: PDF is not read; convert it with `pdftotext FILE.pdf FILE.txt` (poppler-utils) to text, or with "
            "doc2json to `s2orc_legacy`, and name the converted files in `paths`"
        )
    head = _head(raw)
    found = next((found for reader in READERS.values() if (found := reader.sniff(head)) is not None), None)
    if found is None and stated == "auto":
        raise InputError(f"{path}: the format is not recognised by its content; give `format` in the recipe")
    if found is not None and (stated in ("auto", found.name) or found.name == "empty"):
        return found
    if not _may_be(stated, found):
        raise InputError(
            f"{path}: the recipe says format {stated}, but the content is {found.name if found else 'of no known one'}"
        )
    return READERS[stated]


def _may_be(stated: str, found: Reader | None) -> bool:
    """Whether what is stated may stand against what was found. Every JSON record is also a line and a text."""
    if stated in ("text", "jsonl"):
        return found is not None and FORMATS[found.name].is_json
    return found is None or (found.name == "jsonl" and FORMATS[stated].is_json)


def _head(raw: bytes) -> Head:
    tar = is_tar(raw)
    content = (first_content(raw) if tar else raw).removeprefix(BOM).lstrip()
    keys = frozenset(KEY.findall(content)) if content[:1] in (b"{", b"[") else frozenset()
    return Head(content, keys, tar)
