"""What a built corpus says of itself: the ledger of each input item, and the summary over all."""

from pathlib import Path

import msgspec

from pmc_llama.errors import InputError
from pmc_llama.files import read_record


class SourceCounts(msgspec.Struct):
    """Records of one source: those that came in are those kept and those dropped, always."""

    documents_in: int = msgspec.field(name="in", default=0)
    kept: int = 0
    dropped: dict[str, int] = {}


class PartFile(msgspec.Struct, frozen=True):
    """One Parquet file."""

    file: str
    """Relative to the corpus' folder."""
    rows: int
    sha256: str


class Appended(msgspec.Struct, frozen=True):
    """What came in when papers were appended to an earlier corpus."""

    documents_in: int = msgspec.field(name="in")
    kept: int
    dropped: dict[str, int]
    chars: int


class CorpusSummary(msgspec.Struct, frozen=True):
    """`corpus.json`: the totals over all input items. A corpus of others needs `parts` alone."""

    parts: list[PartFile]
    documents_in: int = msgspec.field(name="in", default=0)
    kept: int = 0
    dropped: dict[str, int] = {}
    chars: int = 0
    chars_removed: dict[str, int] = {}
    sources: dict[str, SourceCounts] = {}
    rules: dict[str, int] = {}
    """The cleaning rules that ran, with their versions."""
    recipe_hash: str = ""
    """Of the settings that decide the corpus."""
    invalid_spans: int = 0
    bytes_in: int = 0
    fingerprint: str = ""
    """Of all that the parts depend on; says whether a build goes on or begins."""
    appended: Appended | None = None
    unread: list[str] = []
    """The first records and files that could not be read, each with its reason."""


class Ledger(msgspec.Struct, frozen=True):
    """What became of the records of one input item, a file or a group of small files."""

    file: str
    """Relative to `data.root`, of the first file of a group."""
    files: int
    source: str
    documents_in: int = msgspec.field(name="in")
    kept: int
    dropped: dict[str, int]
    invalid_spans: int
    chars_in: int
    chars_removed: dict[str, int]
    bytes: int
    sha256: str
    """Of the file as it lies; of a group, of its files' hashes in a row."""
    seconds: float
    unread: list[str] = []
    """The first records and files that could not be read, each with its reason."""


def read_corpus_summary(path: Path) -> CorpusSummary:
    """A corpus' `corpus.json`. Raises InputError where there is none, or where it is damaged."""
    if not path.is_file():
        raise InputError(f"{path.parent} holds no finished corpus (there is no {path.name})")
    return read_record(path, CorpusSummary)


def read_ledgers(folder: Path) -> list[Ledger]:
    """All ledgers of a corpus, in the order of its input items."""
    return [read_record(path, Ledger) for path in sorted(folder.glob("*.json"))]
