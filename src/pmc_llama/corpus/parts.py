"""Second pass: staged papers that stay become Parquet parts."""

import functools
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pmc_llama.corpus import boilerplate
from pmc_llama.corpus.stage import PAPER_SCHEMA
from pmc_llama.files import atomic_path, read_record, sha256_file, write_json

ROW_GROUP_CHARS = 64 * 2**20
ZSTD_LEVEL = 3
KEY_COLUMNS = ["pmcid", "corpusid", "format", "version", "doi_hash", "text_hash"]


class Part(msgspec.Struct):
    """One Parquet file of the corpus."""

    file: str
    rows: int
    chars: int
    sha256: str
    boilerplate_chars: int = 0
    """Characters of boilerplate lines that were taken out of it."""


class PartTask(msgspec.Struct, frozen=True):
    """What one part is made of."""

    staged: str
    part: str
    record: str
    """Where the finished part is described; its presence says that the part is whole."""
    stays: np.ndarray
    """Which rows of the staged file stay; bool [N]."""
    boilerplate: str | None
    """Hashes of lines to take out."""


def read_columns(staged: Path, columns: list[str]) -> pa.Table:
    """Some columns of all rows of a staged file."""
    with pa.memory_map(str(staged)) as source, pa.ipc.open_file(source) as reader:
        fields = [reader.schema.get_field_index(name) for name in columns]
    options = pa.ipc.IpcReadOptions(included_fields=fields)
    with pa.memory_map(str(staged)) as source, pa.ipc.open_file(source, options=options) as reader:
        return reader.read_all().select(columns)


def write_part(task: PartTask) -> Part:
    """Write the rows of a staged file that stay; a part that is there already is left as it is."""
    path, record = Path(task.part), Path(task.record)
    if record.exists() and path.exists():
        return read_record(record, Part)
    rows = chars = staged_chars = 0
    with atomic_path(path) as partial:
        dictionary = ["source", "license"]
        with pq.ParquetWriter(
            partial, PAPER_SCHEMA, compression="zstd", compression_level=ZSTD_LEVEL, use_dictionary=dictionary
        ) as writer:
            for staged in _row_groups(task.staged, task.stays):
                staged_chars += _chars(staged)
                group = staged if task.boilerplate is None else _without_boilerplate(staged, task.boilerplate)
                rows, chars = rows + group.num_rows, chars + _chars(group)
                writer.write_table(group, row_group_size=max(group.num_rows, 1))
    part = Part(path.name, rows, chars, sha256_file(path), staged_chars - chars)
    write_json(record, part)
    return part


def _chars(group: pa.Table) -> int:
    return int(pc.sum(pc.utf8_length(group.column("text"))).as_py() or 0)


@functools.lru_cache(maxsize=1)
def _frequent(path: str) -> frozenset[int]:
    return frozenset(np.load(path).tolist())


def _without_boilerplate(group: pa.Table, hashes: str) -> pa.Table:
    texts = [boilerplate.without(text, _frequent(hashes)) for text in group.column("text").to_pylist()]
    position = group.schema.get_field_index("text")
    return group.set_column(position, PAPER_SCHEMA.field("text"), pa.array(texts, pa.large_string()))


def _row_groups(staged: str, stays: np.ndarray) -> Iterator[pa.Table]:
    """Tables of rows that stay, of about ROW_GROUP_CHARS of text each."""
    waiting: list[pa.RecordBatch] = []
    waiting_bytes = position = 0
    with pa.memory_map(staged) as source, pa.ipc.open_file(source) as reader:
        for index in range(reader.num_record_batches):
            batch = reader.get_batch(index)
            kept = batch.filter(pa.array(stays[position : position + batch.num_rows]))
            position += batch.num_rows
            if kept.num_rows:
                waiting.append(kept.select(PAPER_SCHEMA.names))
                waiting_bytes += waiting[-1].nbytes
            if waiting_bytes >= ROW_GROUP_CHARS:
                yield pa.Table.from_batches(waiting, PAPER_SCHEMA)
                waiting, waiting_bytes = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting, PAPER_SCHEMA)
