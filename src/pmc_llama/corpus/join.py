"""Finding PMC ids that a record itself lacks: a compact map from S2 corpus ids, built from `papers` shards."""

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from pmc_llama.corpus.engine import count_read_bytes
from pmc_llama.corpus.paper import parse_number, parse_pmcid
from pmc_llama.corpus.readers.base import line_blocks
from pmc_llama.corpus.storage import InputFile
from pmc_llama.errors import InputError
from pmc_llama.files import atomic_path

NO_PMCID = re.compile(rb'"PubMedCentral"\s*:\s*null')


class _Ids(msgspec.Struct, rename={"pmcid": "PubMedCentral"}):
    pmcid: str | int | None = None


class _PaperRow(msgspec.Struct):
    corpusid: int
    externalids: _Ids | None = None
    year: int | None = None


_decoder = msgspec.json.Decoder(_PaperRow)


class PaperMap:
    """corpusid -> (pmcid, year) as sorted arrays: 20 bytes a paper that has a PMC id, shared by all processes."""

    def __init__(self, path: Path) -> None:
        table = np.load(path, mmap_mode="r")  # [3, N]
        self._corpusids, self._pmcids, self._years = table[0], table[1], table[2]

    def find(self, corpusid: int | None) -> tuple[int | None, int | None]:
        """The PMC id and year of a paper, or (None, None)."""
        if corpusid is None:
            return None, None
        index = int(np.searchsorted(self._corpusids, corpusid))
        if index == len(self._corpusids) or self._corpusids[index] != corpusid:
            return None, None
        return int(self._pmcids[index]), int(self._years[index]) or None


def read_papers_shard(path: str) -> np.ndarray:
    """corpusid, pmcid and year (0: none) of the rows of one `papers` shard that have a PMC id, as int64 [3, N].

    Raises InputError for a shard that is broken or holds something else.
    """
    found: list[tuple[int, int, int]] = []
    file = InputFile(path, on_bytes=count_read_bytes)
    with file.open() as stream:
        for lines in line_blocks(stream, file.name):
            for line in lines:
                if not line or NO_PMCID.search(line):
                    continue
                try:
                    row = _decoder.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise InputError(f"{path}: a line is no row of a `papers` shard ({error})") from error
                pmcid = parse_pmcid(row.externalids.pmcid) if row.externalids else None
                if pmcid is not None:
                    found.append((row.corpusid, pmcid, parse_number(row.year) or 0))
    return np.array(found, dtype=np.int64).reshape(-1, 3).T


def write_paper_map(tables: Sequence[np.ndarray], path: Path) -> None:
    """Merge the tables of all shards, sorted by corpusid; where shards disagree the smallest PMC id stands."""
    table = np.concatenate(tables, axis=1) if tables else np.empty((3, 0), np.int64)
    table = table[:, np.lexsort((table[2], table[1], table[0]))]
    first = np.ones(table.shape[1], dtype=bool)
    first[1:] = table[0, 1:] != table[0, :-1]
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.save(file, np.ascontiguousarray(table[:, first]))
