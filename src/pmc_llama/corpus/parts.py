"""Second pass: staged papers that stay become Parquet parts."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pmc_llama.corpus.stage import PAPER_SCHEMA
from pmc_llama.files import atomic_path, read_json, sha256_file, write_json

ROW_GROUP_CHARS = 64 * 2**20
ZSTD_LEVEL = 3
KEY_COLUMNS = ["pmcid", "corpusid", "format", "version", "doi_hash", "text_hash"]


class Part(msgspec.Struct):
    """One Parquet file of the corpus."""

    file: str
    rows: int
    chars: int
    sha256: str


def read_keys(staged: Path) -> pa.Table:
    """What deduplication looks at, of all rows of a staged file."""
    with pa.memory_map(str(staged)) as source, pa.ipc.open_file(source) as reader:
        columns = [reader.schema.get_field_index(name) for name in KEY_COLUMNS]
    options = pa.ipc.IpcReadOptions(included_fields=columns)
    with pa.memory_map(str(staged)) as source, pa.ipc.open_file(source, options=options) as reader:
        return reader.read_all().select(KEY_COLUMNS)


def write_part(task: tuple[str, str, str, np.ndarray]) -> Part:
    """Write the rows of a staged file that stay; a part whose record is there already is whole and left as it is.

    `task`: staged file, part, record of the part (all paths), and which rows stay (bool [N]).
    """
    staged, path, record, stays = task[0], Path(task[1]), Path(task[2]), task[3]
    if record.exists() and path.exists():
        return msgspec.convert(read_json(record), Part)
    rows = chars = 0
    with (
        atomic_path(path) as partial,
        pq.ParquetWriter(
            partial,
            PAPER_SCHEMA,
            compression="zstd",
            compression_level=ZSTD_LEVEL,
            use_dictionary=["source", "license"],
        ) as writer,
    ):
        for group in _row_groups(staged, stays):
            rows += group.num_rows
            chars += pc.sum(pc.utf8_length(group.column("text"))).as_py()
            writer.write_table(group, row_group_size=max(group.num_rows, 1))
    part = Part(path.name, rows, chars, sha256_file(path))
    write_json(record, msgspec.to_builtins(part))
    return part


def _row_groups(staged: str, stays: np.ndarray) -> Iterator[pa.Table]:
    """Tables of rows that stay, of about ROW_GROUP_CHARS of text each."""
    waiting, waiting_bytes, position = [], 0, 0
    with pa.memory_map(staged) as source, pa.ipc.open_file(source) as reader:
        for index in range(reader.num_record_batches):
            batch = reader.get_batch(index)
            kept = batch.filter(pa.array(stays[position : position + batch.num_rows]))
            position += batch.num_rows
            if kept.num_rows:
                waiting.append(kept.select(PAPER_SCHEMA.names))
                waiting_bytes += kept.nbytes
            if waiting_bytes >= ROW_GROUP_CHARS:
                yield pa.Table.from_batches(waiting, PAPER_SCHEMA)
                waiting, waiting_bytes = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting, PAPER_SCHEMA)
