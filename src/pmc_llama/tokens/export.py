"""Copies of a token store in other tools' formats: Megatron-LM, datatrove, Hugging Face datasets."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pmc_llama.files import atomic_path, write_bytes, write_text
from pmc_llama.progress import Progress
from pmc_llama.tokens.encoders import load_encoder
from pmc_llama.tokens.store import Split, TokenStore

SPLIT_NAMES: dict[Split, str] = {"train": "train", "heldout": "validation"}
ROWS_PER_FILE = 10_000
MEGATRON_INT32, MEGATRON_UINT16 = 4, 8
MEGATRON_UINT16_LIMIT = 65_500
"""Vocabularies from this size on take int32 in Megatron."""


def export_store(
    path: Path, kind: Literal["megatron", "datatrove", "huggingface"], out: Path, tokenizer: Path | None = None
) -> list[Path]:
    """Write a store into the folder `out`, training documents as `train`, held-out ones as `validation`.

    With its `tokenizer`, BOS and EOS stand around each document. Returns the files. Raises StoreError for a damaged
    store or another tokenizer.
    """
    encoder = None if tokenizer is None else load_encoder(tokenizer, fast=False)
    store = TokenStore.open(path, None if encoder is None else encoder.sha256)
    marks = (
        {"bos_id": None, "eos_id": None} if encoder is None else {"bos_id": encoder.bos_id, "eos_id": encoder.eos_id}
    )
    if kind == "huggingface":
        return export_huggingface(store, out, **marks)
    written: list[Path] = []
    for split, name in SPLIT_NAMES.items():
        if not _documents(store, split):
            continue
        if kind == "megatron":
            written += export_megatron(store, out / name, split=split, **marks)
        else:  # datatrove's reader takes all files of a folder
            named = "unknown" if tokenizer is None else str(tokenizer)
            written += export_datatrove(store, out / name / "tokens", named, split=split, **marks)
    return written


def export_megatron(
    store: TokenStore, out: Path, *, split: Split | None = None, bos_id: int | None = None, eos_id: int | None = None
) -> list[Path]:
    """Write `<out>.bin` and `<out>.idx`, one sequence per document, with BOS and EOS around it where given.

    Format of `megatron.core.datasets.IndexedDataset`, version 1: magic, u64 version, u8 type of the tokens, u64
    sequences, u64 length of the document index, i32 lengths, i64 byte offsets, i64 document index; little-endian.
    """
    small = store.info.vocab_size < MEGATRON_UINT16_LIMIT
    dtype, code = (np.dtype("<u2"), MEGATRON_UINT16) if small else (np.dtype("<i4"), MEGATRON_INT32)
    binary, index = out.with_name(out.name + ".bin"), out.with_name(out.name + ".idx")
    lengths = _write_tokens(store, binary, dtype, _documents(store, split), bos_id, eos_id)
    offsets = (np.cumsum(lengths) - lengths) * dtype.itemsize
    head = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, code, len(lengths), len(lengths) + 1)
    arrays = (lengths.astype("<i4"), offsets.astype("<i8"), np.arange(len(lengths) + 1, dtype="<i8"))
    write_bytes(index, head + b"".join(array.tobytes() for array in arrays))
    return [binary, index]


def export_datatrove(
    store: TokenStore,
    out: Path,
    tokenizer: str,
    *,
    split: Split | None = None,
    bos_id: int | None = None,
    eos_id: int | None = None,
) -> list[Path]:
    """Write `<out>.ds`, `.ds.index` (u64 end of each document, in tokens) and `.ds.metadata` for datatrove's data sets.

    `tokenizer`: the name that goes into the metadata.
    """
    tokens, index, metadata = (out.with_name(out.name + end) for end in (".ds", ".ds.index", ".ds.metadata"))
    lengths = _write_tokens(store, tokens, store.dtype, _documents(store, split), bos_id, eos_id)
    write_bytes(index, np.cumsum(lengths).astype("<u8").tobytes())
    total = int(lengths.sum())
    write_text(metadata, f"{tokenizer}|{store.dtype.itemsize}\n{total}\n{_rounded(total)}")
    return [tokens, index, metadata]


def export_huggingface(
    store: TokenStore, out: Path, *, bos_id: int | None = None, eos_id: int | None = None
) -> list[Path]:
    """Write Parquet files `train-…` and `validation-…` (the held-out split) that `datasets.load_dataset(out)` reads.

    One row per document: `paper_id` and `input_ids`.
    """
    schema = pa.schema({"paper_id": pa.string(), "input_ids": pa.list_(pa.int32())})
    written = []
    for split, name in SPLIT_NAMES.items():
        documents = store.documents(split)
        files = -(-len(documents) // ROWS_PER_FILE)
        for number in range(files):
            path = out / f"{name}-{number:05d}-of-{files:05d}.parquet"
            rows = documents[number * ROWS_PER_FILE : (number + 1) * ROWS_PER_FILE].tolist()
            sequences = [_sequence(store, document, np.dtype("<i4"), bos_id, eos_id) for document in rows]
            table = pa.table(
                [[store.paper_ids[i] for i in rows], pa.array(sequences, schema.field(1).type)], schema=schema
            )
            with atomic_path(path) as partial:
                pq.write_table(table, partial, compression="zstd")
            written.append(path)
    return written


def _documents(store: TokenStore, split: Split | None) -> list[int]:
    """Documents that have tokens; an empty one could not be told from the end of a file."""
    lengths = store.lengths
    return [number for number in store.documents(split).tolist() if lengths[number]]


def _write_tokens(
    store: TokenStore, path: Path, dtype: np.dtype[Any], documents: list[int], bos_id: int | None, eos_id: int | None
) -> NDArray[np.int64]:
    """Write all sequences one after the other; returns their lengths."""
    lengths = np.zeros(len(documents), np.int64)
    with atomic_path(path) as partial, partial.open("wb") as file, _progress(store, path) as progress:
        for place, sequence in enumerate(_sequences(store, documents, dtype, bos_id, eos_id)):
            file.write(sequence.tobytes())
            lengths[place] = len(sequence)
            progress.advance(len(sequence))
    return lengths


def _progress(store: TokenStore, path: Path) -> Progress:
    return Progress(f"write {path.name}", total=store.n_tokens, unit="tokens")


def _sequences(
    store: TokenStore, documents: list[int], dtype: np.dtype[Any], bos_id: int | None, eos_id: int | None
) -> Iterator[NDArray[Any]]:
    for document in documents:
        yield _sequence(store, document, dtype, bos_id, eos_id)


def _sequence(
    store: TokenStore, document: int, dtype: np.dtype[Any], bos_id: int | None, eos_id: int | None
) -> NDArray[Any]:
    marks = [np.array([] if mark is None else [mark], dtype) for mark in (bos_id, eos_id)]
    return np.concatenate([marks[0], store[document].astype(dtype), marks[1]])


def _rounded(count: int) -> str:
    """A count with three digits and a metric prefix, as datatrove's metadata has it: 8.37 MT for 8,372,414 tokens."""
    thousands = min((len(str(count)) - 1) // 3, 4)
    digits = 2 - (len(str(count)) - 1) % 3
    return f"{count / 1000**thousands:.{max(digits, 0)}f} {['', 'k', 'M', 'G', 'T'][thousands]}T"
