"""Writing a token store: one shard a corpus part, then the indices over all shards."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pmc_llama.errors import StoreError
from pmc_llama.files import atomic_path, sha256_file, write_json
from pmc_llama.records.tokens import FORMAT, ShardFile, StoreInfo
from pmc_llama.run_dir import StoreDir
from pmc_llama.tokens.reference import Encoder


@dataclass(frozen=True)
class Shard:
    """One whole shard: `shard-NNNNN.bin` with the ids of one corpus part, and its index `shard-NNNNN.parquet`."""

    file: str
    stamp: dict[str, str]
    paper_ids: pa.ChunkedArray
    lengths: NDArray[np.uint64]

    @property
    def documents(self) -> int:
        """Number of documents."""
        return len(self.lengths)

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return int(self.lengths.sum())


def shard_paths(out: Path, number: int) -> tuple[Path, Path]:
    """The tokens' and the index' file of a shard."""
    return out / f"shard-{number:05d}.bin", out / f"shard-{number:05d}.parquet"


def write_shard_index(out: Path, number: int, paper_ids: list[str], lengths: list[int], stamp: dict[str, str]) -> Shard:
    """Write the index of a shard whose `.bin` is whole; it is written last, so a shard with an index is whole."""
    binary, index = shard_paths(out, number)
    table = pa.table({"paper_id": pa.array(paper_ids, pa.string()), "tokens": pa.array(lengths, pa.uint64())})
    with atomic_path(index) as partial:
        pq.write_table(table.replace_schema_metadata(stamp), partial, compression="zstd")
    return Shard(binary.name, stamp, table["paper_id"], np.array(lengths, np.uint64))


def read_shard(out: Path, number: int, stamp: dict[str, str], dtype: np.dtype[Any]) -> Shard | None:
    """The shard that is already there, if it is whole and was made from what `stamp` names."""
    binary, index = shard_paths(out, number)
    if not (index.is_file() and binary.is_file()):
        return None
    table = pq.read_table(index)
    found = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    shard = Shard(binary.name, found, table["paper_id"], table["tokens"].to_numpy())
    same = all(found.get(key) == value for key, value in stamp.items())
    return shard if same and binary.stat().st_size == shard.tokens * dtype.itemsize else None


def finish_store(
    out: Path, shards: Sequence[Shard], encoder: Encoder, corpora: Sequence[str], heldout_fraction: float
) -> StoreInfo:
    """Write offsets, documents and, last, `store.json` over all shards, in their order; returns its value.

    `corpora`: hashes of the corpora that were encoded, the first one and those appended.
    """
    paper_ids = pa.chunked_array([chunk for s in shards for chunk in s.paper_ids.chunks], pa.string())
    lengths = np.concatenate([shard.lengths for shard in shards])
    _refuse_repeats(out, paper_ids)
    heldout = heldout_mask(paper_ids.to_pylist(), heldout_fraction)
    offsets = np.zeros(len(lengths) + 1, "<u8")
    np.cumsum(lengths, out=offsets[1:])
    with atomic_path(out / "offsets.bin") as partial:
        partial.write_bytes(offsets.tobytes())
    with atomic_path(out / "documents.parquet") as partial:
        pq.write_table(pa.table({"paper_id": paper_ids, "heldout": heldout}), partial, compression="zstd")
    value = StoreInfo(
        format=FORMAT,
        tokenizer_sha256=encoder.sha256,
        vocab_size=encoder.vocab_size,
        dtype="uint16" if encoder.dtype.itemsize == 2 else "uint32",
        bos_eos="not stored",
        corpora=list(corpora),
        heldout_fraction=heldout_fraction,
        documents=len(lengths),
        empty_documents=int((lengths == 0).sum()),
        tokens=int(lengths.sum()),
        heldout_documents=int(heldout.sum()),
        heldout_tokens=int(lengths[heldout].sum()),
        offsets_sha256=sha256_file(out / "offsets.bin"),
        documents_sha256=sha256_file(out / "documents.parquet"),
        shards=[ShardFile(one.file, one.documents, one.tokens, one.stamp["bin_sha256"]) for one in shards],
    )
    write_json(StoreDir(out).info, value)
    _remove_old_shards(out, len(shards))
    return value


def heldout_mask(paper_ids: Sequence[str], fraction: float) -> NDArray[np.bool_]:
    """Which documents are held out: those whose id hashes below `fraction`, so a growing corpus never moves one."""
    limit = int(fraction * 2**64)
    hashes = (int.from_bytes(hashlib.sha256(paper_id.encode()).digest()[:8], "big") for paper_id in paper_ids)
    return np.fromiter((number < limit for number in hashes), np.bool_, len(paper_ids))


def _refuse_repeats(out: Path, paper_ids: pa.ChunkedArray) -> None:
    if len(paper_ids.unique()) < len(paper_ids):
        counts = paper_ids.value_counts()
        repeated = next(row["values"].as_py() for row in counts if row["counts"].as_py() > 1)
        raise StoreError(
            f"token store {out}: paper {repeated} is in the corpus more than once; every paper_id must be unique"
        )


def _remove_old_shards(out: Path, count: int) -> None:
    """Remove shards of an earlier, longer corpus."""
    for file in out.glob("shard-*"):
        if int(file.stem.removeprefix("shard-")) >= count:
            file.unlink()
