"""Exports hold the store's documents: by the words of each format, and by its tool's reader where that is installed."""

import struct
from pathlib import Path

import numpy as np
import pytest

from pmc_llama.tokens.export import export_datatrove, export_huggingface, export_megatron
from pmc_llama.tokens.store import TokenStore

from .test_order import BOS, EOS, LENGTHS, write_store


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    return write_store(tmp_path / "store", LENGTHS, heldout=0.3)


def sequences(store: TokenStore, split: str | None = None) -> list[list[int]]:
    numbers = store.documents(split)  # type: ignore[arg-type]
    return [[BOS, *store[number].tolist(), EOS] for number in numbers.tolist() if len(store[number])]


def test_megatron_files_follow_the_format(store: TokenStore, tmp_path: Path) -> None:
    binary, index = export_megatron(store, tmp_path / "out" / "papers", bos_id=BOS, eos_id=EOS)
    expected, content = sequences(store), index.read_bytes()
    assert (binary.name, index.name) == ("papers.bin", "papers.idx")
    assert content[:9] == b"MMIDIDX\0\0"
    assert struct.unpack("<QBQQ", content[9:34]) == (1, 4, len(expected), len(expected) + 1)
    lengths = np.frombuffer(content, "<i4", len(expected), 34)
    offsets = np.frombuffer(content, "<i8", len(expected), 34 + 4 * len(expected))
    documents = np.frombuffer(content, "<i8", len(expected) + 1, 34 + 12 * len(expected))
    assert len(content) == 34 + 20 * len(expected) + 8
    assert documents.tolist() == list(range(len(expected) + 1))
    tokens = np.fromfile(binary, "<i4")
    for sequence, length, offset in zip(expected, lengths, offsets, strict=True):
        assert tokens[offset // 4 : offset // 4 + length].tolist() == sequence


def test_megatron_reads_it(store: TokenStore, tmp_path: Path) -> None:
    indexed = pytest.importorskip("megatron.core.datasets.indexed_dataset", reason="megatron-core is not installed")
    export_megatron(store, tmp_path / "papers", split="train", bos_id=BOS, eos_id=EOS)
    dataset = indexed.IndexedDataset(str(tmp_path / "papers"))
    assert [dataset[i].tolist() for i in range(len(dataset))] == sequences(store, "train")
    assert dataset.document_indices.tolist() == list(range(len(dataset) + 1))


def test_datatrove_files_follow_the_format(store: TokenStore, tmp_path: Path) -> None:
    tokens, index, metadata = export_datatrove(store, tmp_path / "papers", "llama", bos_id=BOS, eos_id=EOS)
    expected = sequences(store)
    assert np.fromfile(tokens, "<u4").tolist() == [number for sequence in expected for number in sequence]
    assert np.fromfile(index, "<u8").tolist() == np.cumsum([len(sequence) for sequence in expected]).tolist()
    total = sum(map(len, expected))
    assert metadata.read_text() == f"llama|4\n{total}\n{total} T"


@pytest.mark.parametrize(
    ("count", "rounded"),
    [(0, "0.00 T"), (93, "93.0 T"), (8_372_414, "8.37 MT"), (75_000_000_000, "75.0 GT"), (1500, "1.50 kT")],
)
def test_counts_are_rounded_as_datatrove_does(count: int, rounded: str) -> None:
    from pmc_llama.tokens.export import _rounded

    assert _rounded(count) == rounded
    humanize = pytest.importorskip("humanize", reason="humanize comes with datatrove")
    assert humanize.metric(count, unit="T") == rounded


def test_datatrove_reads_it(store: TokenStore, tmp_path: Path) -> None:
    dataset = pytest.importorskip("datatrove.utils.dataset", reason="datatrove is not installed")
    export_datatrove(store, tmp_path / "out" / "papers", "llama", bos_id=BOS, eos_id=EOS)
    flat = [number for sequence in sequences(store) for number in sequence]
    rows = dataset.DatatroveFolderDataset(str(tmp_path / "out"), seq_len=15, token_size=4, return_positions=True)
    assert len(rows) == len(flat) // 16
    positions = [place for sequence in sequences(store) for place in range(len(sequence))]
    for number in range(len(rows)):
        row = rows[number]
        assert row["input_ids"].tolist() == flat[number * 16 : (number + 1) * 16]
        for column, place in enumerate(row["positions"].tolist()):
            assert place == min(positions[number * 16 + column], column)


def test_hugging_face_files_hold_both_splits(store: TokenStore, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    written = export_huggingface(store, tmp_path / "out", bos_id=BOS, eos_id=EOS)
    assert [path.name for path in written] == ["train-00000-of-00001.parquet", "validation-00000-of-00001.parquet"]
    for path, split in zip(written, ("train", "heldout"), strict=True):
        rows = pq.read_table(path).to_pylist()
        numbers = store.documents(split)  # type: ignore[arg-type]
        assert [row["paper_id"] for row in rows] == [store.paper_ids[number] for number in numbers]
        assert [row["input_ids"] for row in rows] == [[BOS, *store[number].tolist(), EOS] for number in numbers]


def test_datasets_reads_it(store: TokenStore, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    export_huggingface(store, tmp_path / "out")
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"train", "validation"}
    expected = {store.paper_ids[number]: store[number].tolist() for number in range(len(store))}
    assert {row["paper_id"]: row["input_ids"] for part in loaded.values() for row in part} == expected
