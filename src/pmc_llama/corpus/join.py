"""What other tables know of a paper: S2 `papers` shards by corpus id, NCBI's `PMC-ids.csv.gz` by DOI and PMID.

Both become sorted arrays on disk, shared by all processes through the page cache.
"""

import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from pmc_llama.corpus.engine import count_read_bytes
from pmc_llama.corpus.paper import CorpusId, hash64, parse_doi, parse_number, parse_pmcid, parse_year
from pmc_llama.corpus.readers.base import line_blocks
from pmc_llama.corpus.readers.table import read_rows
from pmc_llama.corpus.storage import InputFile
from pmc_llama.errors import InputError
from pmc_llama.files import atomic_path
from pmc_llama.recipe.corpus import FIELDS_OF_STUDY

Table = npt.NDArray[np.int64]
BIT = {name: 1 << position for position, name in enumerate(FIELDS_OF_STUDY)}
"""A paper's fields of study are kept as bits."""
NO_PMCID = re.compile(rb'"PubMedCentral"\s*:\s*null')


class _Ids(msgspec.Struct, rename={"pmcid": "PubMedCentral"}):
    pmcid: str | int | None = None


class _Field(msgspec.Struct):
    category: str | None = None


class _PaperRow(msgspec.Struct):
    corpusid: CorpusId
    externalids: _Ids | None = None
    year: int | None = None
    s2fieldsofstudy: list[_Field] | None = None


_decoder = msgspec.json.Decoder(_PaperRow)


class Known(msgspec.Struct, frozen=True):
    """What the `papers` dataset says of a paper."""

    pmcid: int | None = None
    year: int | None = None
    fields: tuple[str, ...] = ()


NOTHING = Known()


class PaperMap:
    """corpusid -> Known: 32 bytes per paper."""

    def __init__(self, path: Path) -> None:
        self._corpusids, self._pmcids, self._years, self._fields = np.load(path, mmap_mode="r")  # [4, N]

    def find(self, corpusid: int | None) -> Known:
        """What is known of a paper; nothing of one that is not there."""
        index = _position(self._corpusids, corpusid)
        if index is None:
            return NOTHING
        bits = int(self._fields[index])
        fields = tuple(name for name, bit in BIT.items() if bits & bit) if bits else ()
        return Known(int(self._pmcids[index]) or None, int(self._years[index]) or None, fields)


class PmcIds:
    """DOI or PMID -> PMC id: 16 bytes a DOI and a PMID each."""

    def __init__(self, path: Path) -> None:
        self._tables = np.load(path, mmap_mode="r")  # doi [2, N], pmid [2, M]

    def find(self, doi: str | None, pmid: int | None) -> int | None:
        """The PMC id of a paper with this DOI, else of one with this PMID."""
        for name, key in (("doi", hash64(doi) if doi else None), ("pmid", pmid)):
            keys, pmcids = self._table(name)
            index = _position(keys, key)
            if index is not None:
                return int(pmcids[index])
        return None

    def _table(self, name: str) -> Table:
        if name not in self.__dict__:
            self.__dict__[name] = self._tables[name]
        return np.asarray(self.__dict__[name])


def _position(keys: Table, key: int | None) -> int | None:
    if key is None:
        return None
    index = int(np.searchsorted(keys, key))
    return index if index < len(keys) and keys[index] == key else None


def read_papers_shard(task: tuple[str, bool]) -> Table:
    """corpusid, pmcid, year and field bits (0: none) of the rows of one `papers` shard, as int64 [4, N].

    `task`: the shard, and whether rows without PMC id are wanted too. Raises InputError for a shard that is broken or
    holds something else.
    """
    path, all_rows = task
    found: list[tuple[int, int, int, int]] = []
    file = InputFile(path, on_bytes=count_read_bytes)
    with file.open() as stream:
        for line in (line for block in line_blocks(stream, file.name) for line in block.records):
            if not all_rows and NO_PMCID.search(line):
                continue
            try:
                row = _decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise InputError(f"{path}: a line is no row of a `papers` shard ({error})") from error
            pmcid = parse_pmcid(row.externalids.pmcid) if row.externalids else None
            if pmcid is not None or all_rows:
                found.append((row.corpusid, pmcid or 0, parse_year(row.year) or 0, _bits(row)))
    return np.array(found, dtype=np.int64).reshape(-1, 4).T


def _bits(row: _PaperRow) -> int:
    bits = 0
    for field in row.s2fieldsofstudy or ():
        bits |= BIT.get(field.category or "", 0)
    return bits


class _Deleted(msgspec.Struct):
    corpusid: CorpusId


_deleted_decoder = msgspec.json.Decoder(_Deleted)


def read_deleted(paths: Sequence[str]) -> frozenset[int]:
    """Corpus ids in delete files. Raises InputError for a line that names none."""
    found = set()
    for path in paths:
        with InputFile(path).open() as stream:
            for line in (line for block in line_blocks(stream, path) for line in block.records):
                try:
                    found.add(_deleted_decoder.decode(line).corpusid)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise InputError(f"{path}: a line names no corpusid ({error})") from error
    return frozenset(found)


def write_paper_map(tables: Sequence[Table], path: Path) -> None:
    """Merge the tables of all shards, sorted by corpusid; of rows with the same one the largest PMC id stands."""
    table = np.concatenate(tables, axis=1) if tables else np.empty((4, 0), np.int64)
    table = table[:, np.lexsort((table[3], table[2], -table[1], table[0]))]
    write_array(np.ascontiguousarray(_first_of_each(table)), path)


def write_array(array: Table, path: Path) -> None:
    """Write an array as `.npy`, atomically."""
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.save(file, array)


def write_pmc_ids(path: str, out: Path) -> None:
    """Turn `PMC-ids.csv.gz` into sorted arrays. Columns are found by their header: DOI, PMID, PMCID.

    Raises InputError when one is missing.
    """
    file = InputFile(path, on_bytes=count_read_bytes)
    dois, pmids = [], []
    with file.open() as stream:
        text = io.TextIOWrapper(io.BufferedReader(stream), encoding="utf-8-sig", errors="replace", newline="")  # type: ignore[type-var]
        for row in read_rows(text, path, ("DOI", "PMID", "PMCID")):
            pmcid = parse_pmcid(row["PMCID"])
            if pmcid is None:
                continue
            doi, pmid = parse_doi(row["DOI"]), parse_number(row["PMID"])
            dois += [(hash64(doi), pmcid)] if doi else []
            pmids += [(pmid, pmcid)] if pmid else []
    with atomic_path(out) as partial, partial.open("wb") as sink:
        np.savez(sink, doi=_sorted_pairs(dois), pmid=_sorted_pairs(pmids))


def _sorted_pairs(pairs: Iterable[tuple[int, int]]) -> Table:
    table = np.array(list(pairs), dtype=np.int64).reshape(-1, 2).T
    return _first_of_each(table[:, np.lexsort((table[1], table[0]))])


def _first_of_each(table: Table) -> Table:
    """The first column of each run of equal keys (row 0)."""
    first = np.ones(table.shape[1], dtype=bool)
    first[1:] = table[0, 1:] != table[0, :-1]
    return table[:, first]
