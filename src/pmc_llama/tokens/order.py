"""The order in which training sees a token store: batch n is a pure function of (store, settings, seed, n)."""

import math

import numpy as np

from pmc_llama.errors import StoreError
from pmc_llama.files import sha256_json
from pmc_llama.recipe.tokens import OrderSection
from pmc_llama.tokens.layout import Documents, Layout, fill
from pmc_llama.tokens.packed import Packed
from pmc_llama.tokens.store import Split, TokenStore
from pmc_llama.tokens.windows import Sweep, Windows
from pmc_llama.train.batches import Rows


class StoreBatches:
    """Batches of a token store: a `BatchSource`.

    Rows follow each other through all epochs, so a batch may hold the end of one epoch and the start of the next; only
    the last batch of the run may have fewer rows than `global_batch`, and no row is dropped.
    """

    def __init__(
        self,
        store: TokenStore,
        layout: Layout,
        *,
        seq_len: int,
        global_batch: int,
        epochs: float,
        bos_id: int | None,
        eos_id: int | None,
        fingerprint: str,
    ) -> None:
        self._store, self._layout, self._seq_len, self._global_batch = store, layout, seq_len, global_batch
        self._bos_id, self._eos_id = bos_id, eos_id
        self._total_rows = math.ceil(layout.rows_per_epoch * epochs)
        self.fingerprint = fingerprint
        self.rows_per_epoch = layout.rows_per_epoch
        self.total_tokens = layout.total_tokens
        self.steps = -(-self._total_rows // global_batch)

    def rows(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        """Rows `rank::world` of global batch `step`, T = seq_len. Raises IndexError for a step past the end."""
        if not 0 <= step < self.steps:
            raise IndexError(f"this run has steps 0 to {self.steps - 1}, not {step}")
        first = step * self._global_batch
        numbers = np.arange(first + rank, min(first + self._global_batch, self._total_rows), world)
        epochs, in_epoch = np.divmod(numbers, self.rows_per_epoch)
        parts = [self._read(int(epoch), in_epoch[epochs == epoch]) for epoch in np.unique(epochs)]
        if not parts:
            return _no_rows(self._seq_len)
        return parts[0] if len(parts) == 1 else join(parts)

    def coverage(self, step: int) -> float:
        """Exact share of distinct tokens seen after `step` steps; to `packed`, BOS and EOS are tokens of a document."""
        return self._layout.seen(min(step * self._global_batch, self._total_rows)) / self.total_tokens

    def _read(self, epoch: int, rows: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> Rows:
        pieces = self._layout.pieces(epoch, rows)
        pad_id = self._eos_id if self._eos_id is not None else 0
        return fill(self._store, pieces, (len(rows), self._seq_len), self._bos_id, self._eos_id, pad_id)


def batches(
    store: TokenStore,
    section: OrderSection,
    *,
    split: Split,
    seq_len: int,
    global_batch: int,
    epochs: float,
    seed: int,
    eos_id: int | None,
    bos_id: int | None,
) -> StoreBatches:
    """The batches of a run over one split of a store, in the order that the recipe names.

    `bos_id` and `eos_id` of a tokenizer that has none are None. Raises StoreError where the split has no tokens.
    """
    documents = Documents.of(store, split)
    if not len(documents.numbers):
        raise StoreError(f"token store {store.path} has no tokens in its {split} split")
    layout: Layout
    if section.kind == "packed":
        layout = Packed(documents, seq_len, seed, bos=bos_id is not None, eos=eos_id is not None)
    else:
        layout = {"windows": Windows, "sweep": Sweep}[section.kind](documents, seq_len, seed, eos=eos_id is not None)
    settings = [section.model_dump(), split, seq_len, global_batch, epochs, seed, bos_id, eos_id]
    return StoreBatches(
        store,
        layout,
        seq_len=seq_len,
        global_batch=global_batch,
        epochs=epochs,
        bos_id=bos_id,
        eos_id=eos_id,
        fingerprint=sha256_json([store.fingerprint, settings]),
    )


def join(parts: list[Rows]) -> Rows:
    """The same rows as one block."""
    return Rows(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("ids", "position_ids", "labels"))
    )


def _no_rows(seq_len: int) -> Rows:
    nothing = np.empty((0, seq_len), np.int64)
    return Rows(nothing, nothing, nothing)
