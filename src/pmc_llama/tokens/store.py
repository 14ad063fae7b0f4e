"""Reading a token store: memory-mapped ids of every document, refused where damaged or made from something else."""

import mmap
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pmc_llama.errors import StoreError
from pmc_llama.files import sha256_file, sha256_json
from pmc_llama.records.tokens import read_store_info

Split = Literal["train", "heldout"]


class TokenStore:
    """The documents of a corpus as token ids, without BOS and EOS; only the pages that are read are loaded.

    Layout: `store.json`; `shard-NNNNN.bin`, little-endian uint16 (vocabulary below 65,536) or uint32; `offsets.bin`,
    little-endian uint64: document i has the tokens [offsets[i], offsets[i + 1]) of all shards in a row, none crosses
    two shards; `documents.parquet` with `paper_id` and `heldout`; `shard-NNNNN.parquet`: what a shard was made from.
    """

    def __init__(self, path: Path, tokenizer_sha256: str | None = None, corpus_sha256: str | None = None) -> None:
        self.path = path
        self.info = read_store_info(path)
        self._refuse_foreign("tokenizer", [self.info.tokenizer_sha256], tokenizer_sha256)
        self._refuse_foreign("corpus", self.info.corpora, corpus_sha256)
        self.dtype = np.dtype("<u2") if self.info.dtype == "uint16" else np.dtype("<u4")
        self.offsets = np.frombuffer(self._map("offsets.bin", 8 * (self.info.documents + 1)), "<u8")
        shards = [(shard.file, shard.tokens) for shard in self.info.shards]
        self._maps = [self._map(file, tokens * self.dtype.itemsize) for file, tokens in shards]
        self._shards = [np.frombuffer(m, self.dtype, n) for m, (_, n) in zip(self._maps, shards, strict=True)]
        self._first_document = np.cumsum([0] + [shard.documents for shard in self.info.shards])
        self._first_token = np.cumsum([0] + [shard.tokens for shard in self.info.shards])
        self._check_offsets()

    @classmethod
    def open(cls, path: Path, tokenizer_sha256: str | None = None, corpus_sha256: str | None = None) -> "TokenStore":
        """Open a store. Raises StoreError if it is damaged, or of another tokenizer or corpus than the ones named."""
        return cls(path, tokenizer_sha256, corpus_sha256)

    def __len__(self) -> int:
        return int(self.info.documents)

    def __getitem__(self, document: int) -> NDArray[Any]:
        """Ids of a document: a view of the mapped file. Raises StoreError for a number past the end."""
        if not 0 <= document < len(self):
            raise StoreError(f"token store {self.path} has documents 0 to {len(self) - 1}, not {document}")
        shard = int(np.searchsorted(self._first_document, document, side="right")) - 1
        start, end = self.offsets[document : document + 2].astype(np.int64) - self._first_token[shard]
        return self._shards[shard][start:end]

    def documents(self, split: Split | None = None) -> NDArray[np.int64]:
        """Numbers of the documents of a split (None: of all)."""
        if split is None:
            return np.arange(len(self))
        return np.flatnonzero(self._heldout == (split == "heldout"))

    @property
    def n_tokens(self) -> int:
        """Tokens of all documents."""
        return int(self.info.tokens)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each document."""
        return np.diff(self.offsets).astype(np.int64)

    def expect_random_reads(self) -> None:
        """Tell the system not to read ahead: a row is a page or two, what follows it is not wanted."""
        if hasattr(mmap, "MADV_RANDOM"):
            for mapped in self._maps:
                mapped.madvise(mmap.MADV_RANDOM)

    def read_into(
        self,
        into: NDArray[np.int64],
        places: NDArray[np.int64],
        documents: NDArray[np.int64],
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
    ) -> None:
        """Copy tokens [start, end) of each document to `into`, from `place` on."""
        some = ends > starts
        documents, places, starts, sizes = documents[some], places[some], starts[some], (ends - starts)[some]
        shards = np.searchsorted(self._first_document, documents, side="right") - 1
        starts = starts + self.offsets[documents].astype(np.int64) - self._first_token[shards]
        numbers = shards.tolist()
        if hasattr(mmap, "MADV_WILLNEED"):  # ask for all pages before the first is waited for: disks read many at once
            from_bytes = starts * self.dtype.itemsize // mmap.PAGESIZE * mmap.PAGESIZE
            wanted_bytes = (starts + sizes) * self.dtype.itemsize - from_bytes
            for shard, start, length in zip(numbers, from_bytes.tolist(), wanted_bytes.tolist(), strict=True):
                self._maps[shard].madvise(mmap.MADV_WILLNEED, start, length)
        spans = (places, places + sizes, starts, starts + sizes)
        for shard, first, last, start, end in zip(numbers, *(array.tolist() for array in spans), strict=True):
            into[first:last] = self._shards[shard][start:end]

    @cached_property
    def fingerprint(self) -> str:
        """Hash that changes with any token, document or setting of the store."""
        return sha256_json(self.info.content())

    @cached_property
    def paper_ids(self) -> list[str]:
        """Ids of all documents."""
        return [str(paper_id) for paper_id in self._documents_column("paper_id").to_pylist()]

    def verify(self) -> None:
        """Read every byte and compare with the hashes of `store.json`. Raises StoreError on a difference."""
        expected = {shard.file: shard.sha256 for shard in self.info.shards}
        expected |= {"offsets.bin": self.info.offsets_sha256, "documents.parquet": self.info.documents_sha256}
        for file, sha256 in expected.items():
            if sha256_file(self.path / file) != sha256:
                raise StoreError(
                    f"token store {self.path}: {file} has changed since it was written: its SHA-256 is another"
                )

    @cached_property
    def _heldout(self) -> NDArray[np.bool_]:
        return np.asarray(self._documents_column("heldout").to_numpy())

    def _documents_column(self, name: str) -> Any:
        try:
            column = pq.read_table(self.path / "documents.parquet", columns=[name])[name]
        except (OSError, ValueError) as error:
            raise StoreError(f"token store {self.path}: documents.parquet cannot be read: {error}") from None
        if len(column) != len(self):
            raise StoreError(
                f"token store {self.path}: documents.parquet has {len(column)} rows, store.json says {len(self)}"
            )
        return column

    def _map(self, file: str, size_bytes: int) -> mmap.mmap:
        path = self.path / file
        size = path.stat().st_size if path.is_file() else None
        if size != size_bytes:
            found = "is missing" if size is None else f"has {size:,} bytes"
            raise StoreError(f"token store {self.path}: {file} {found}, store.json says {size_bytes:,} bytes")
        if not size:
            return mmap.mmap(-1, mmap.PAGESIZE)  # an empty file cannot be mapped, and nothing of it is read
        with path.open("rb") as opened:
            return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)

    def _check_offsets(self) -> None:
        lengths_fit = self.offsets[0] == 0 and self.offsets[-1] == self.n_tokens == self._first_token[-1]
        if not (
            lengths_fit
            and bool(np.all(self.offsets[1:] >= self.offsets[:-1]))
            and np.array_equal(self.offsets[self._first_document], self._first_token)
        ):
            raise StoreError(
                f"token store {self.path}: offsets.bin does not fit the shards: it points past their end or backwards"
            )

    def _refuse_foreign(self, what: str, made_from: list[str], wanted: str | None) -> None:
        if wanted is not None and wanted not in made_from:
            raise StoreError(
                f"token store {self.path} was made from another {what} (SHA-256 {made_from[-1][:12]}…, "
                f"not {wanted[:12]}…): tokenize the corpus again"
            )
