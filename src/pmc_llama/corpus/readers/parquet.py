"""Rows of Parquet files, a few at a time, however far a column grows when it is decoded."""

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from pmc_llama.corpus.bounds import MAX_RECORD_BYTES, TooLarge, check_growth
from pmc_llama.corpus.readers import base
from pmc_llama.corpus.storage import InputFile, open_raw
from pmc_llama.errors import InputError

BATCH_ROWS = 1024


def table_rows(file: InputFile, known: Collection[str], needed: str) -> Iterator[tuple[list[dict[str, Any]], int]]:
    """The rows of a file in its `known` columns, some at a time with their bytes; at most a block, or one row.

    A value that stands in many rows is stored once in the file: its column is read as references to its values, so
    that the rows are made a block at a time. Raises InputError for a file without the `needed` column, and TooLarge
    for one that grows beyond the bounds.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_raw(file.path) as raw, pq.ParquetFile(raw) as table:
        schema = table.schema_arrow
        if needed not in schema.names:
            raise InputError(f"{file.path}: there is no column `{needed}`; columns: {schema.names}")
        columns = [name for name in schema.names if name in known]
        repeated = [name for name in columns if _is_text(schema.field(name).type)]
        _check_groups(file, table)
    with open_raw(file.path) as raw, pq.ParquetFile(raw, read_dictionary=repeated) as table:
        read_bytes = 0
        for batch in table.iter_batches(batch_size=BATCH_ROWS, columns=columns):
            sizes_bytes = _row_bytes(batch)
            for start, stop in _cuts(sizes_bytes, base.BLOCK_BYTES):
                size_bytes = int(sizes_bytes[start:stop].sum())
                read_bytes += size_bytes
                check_growth(file.path, read_bytes, file.size_bytes)
                if sizes_bytes[start:stop].max(initial=0) > MAX_RECORD_BYTES:
                    raise TooLarge(f"{file.path}: more than {MAX_RECORD_BYTES:,} bytes in one row")
                rows = batch.slice(start, stop - start)
                whole = [
                    column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
                    for column in rows.columns
                ]
                yield pa.RecordBatch.from_arrays(whole, names=rows.schema.names).to_pylist(), size_bytes


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary))


def _check_groups(file: InputFile, table: Any) -> None:
    """What the file says of its own sizes. Raises TooLarge where a group of rows is compressed as no text is."""
    for number in range(table.metadata.num_row_groups):
        group = table.metadata.row_group(number)
        chunks = [group.column(column) for column in range(group.num_columns)]
        check_growth(
            file.path,
            sum(chunk.total_uncompressed_size for chunk in chunks),
            sum(chunk.total_compressed_size for chunk in chunks),
        )


def _row_bytes(batch: Any) -> Any:
    """Bytes of each row when it is decoded, as int64 [rows]."""
    import pyarrow as pa
    import pyarrow.compute as pc

    sizes_bytes = np.full(batch.num_rows, 16, np.int64)
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            of_values = pc.fill_null(pc.binary_length(column.dictionary), 0)
            lengths = pc.fill_null(of_values.take(column.indices), 0)
            sizes_bytes += lengths.to_numpy(zero_copy_only=False).astype(np.int64)
        else:
            sizes_bytes += column.nbytes // max(batch.num_rows, 1)
    return sizes_bytes


def _cuts(sizes_bytes: Any, most_bytes: int) -> Iterator[tuple[int, int]]:
    """Runs of rows of at most so many bytes, or of one row."""
    start, ends = 0, np.cumsum(sizes_bytes)
    while start < len(ends):
        before = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, before + most_bytes, side="right")), start + 1)
        yield start, stop
        start = stop
