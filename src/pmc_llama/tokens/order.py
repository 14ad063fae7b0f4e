"""The order in which training sees a token store: batch n is a pure function of (store, settings, seed, n)."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pmc_llama.errors import StoreError
from pmc_llama.files import sha256_json
from pmc_llama.recipe.tokens import OrderSection
from pmc_llama.tokens.bestfit import BestFit
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
        self._store, self._layout, self.seq_len, self._global_batch = store, layout, seq_len, global_batch
        self._bos_id, self._eos_id = bos_id, eos_id
        self.fingerprint = fingerprint
        self.rows_per_epoch = layout.rows_per_epoch
        self.total_rows = math.ceil(layout.rows_per_epoch * epochs)
        self.total_tokens = layout.total_tokens
        self.steps = -(-self.total_rows // global_batch)

    def rows(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        """Rows `rank::world` of global batch `step`, T = seq_len. Raises IndexError for a step past the end."""
        check_step(step, self.steps)
        first = step * self._global_batch
        return self.read(np.arange(first + rank, min(first + self._global_batch, self.total_rows), world))

    def coverage(self, step: int) -> float:
        """Exact share of distinct tokens seen after `step` steps; to `packed`, BOS and EOS are tokens of a document."""
        return self.seen(min(step * self._global_batch, self.total_rows)) / self.total_tokens

    def coverage_by_source(self, step: int) -> dict[str, float]:
        """Nothing: there is one source."""
        return {}

    def read(self, numbers: NDArray[np.int64]) -> Rows:
        """Rows by their number in the endless order of all epochs; [B] rising → arrays [B, T]."""
        epochs, in_epoch = np.divmod(numbers, self.rows_per_epoch)
        parts = [self._read_epoch(int(epoch), in_epoch[epochs == epoch]) for epoch in np.unique(epochs)]
        return join(parts, self.seq_len)

    def seen(self, rows: int) -> int:
        """Distinct tokens in the first `rows` rows of the endless order."""
        return self._layout.seen(rows)

    def _read_epoch(self, epoch: int, rows: NDArray[np.int64]) -> Rows:
        pieces = self._layout.pieces(epoch, rows)
        pad_id = self._eos_id if self._eos_id is not None else 0
        return fill(self._store, pieces, (len(rows), self.seq_len), self._bos_id, self._eos_id, pad_id)


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
    within: range | None = None,
) -> StoreBatches:
    """The batches of a run over one split of a store, in the order that the recipe names.

    `bos_id` and `eos_id` of a tokenizer that has none are None; `within` takes only documents with these numbers.
    Raises StoreError where the split has no tokens.
    """
    documents = Documents.of(store, split, within)
    if not len(documents.numbers):
        where = "" if within is None else f" among documents {within.start} to {within.stop - 1}"
        raise StoreError(f"token store {store.path} has no tokens in its {split} split{where}")
    store.expect_random_reads()
    settings = [section.model_dump(), split, seq_len, global_batch, epochs, seed, bos_id, eos_id]
    settings += [] if within is None else [within.start, within.stop]
    return StoreBatches(
        store,
        make_layout(documents, section, seq_len, seed, bos=bos_id is not None, eos=eos_id is not None),
        seq_len=seq_len,
        global_batch=global_batch,
        epochs=epochs,
        bos_id=bos_id,
        eos_id=eos_id,
        fingerprint=sha256_json([store.fingerprint, settings]),
    )


def make_layout(
    documents: Documents, section: OrderSection, seq_len: int, seed: int, *, bos: bool, eos: bool
) -> Layout:
    """The order that the recipe names, over these documents."""
    if section.kind == "windows":
        return Windows(documents, seq_len, seed, eos=eos)
    if section.kind == "sweep":
        return Sweep(documents, seq_len, seed, eos=eos)
    if section.packing == "best_fit":
        return BestFit(documents, seq_len, seed, bos=bos, eos=eos)
    return Packed(documents, seq_len, seed, bos=bos, eos=eos)


def join(parts: list[Rows], seq_len: int) -> Rows:
    """The same rows as one block; no parts give a block without rows."""
    if len(parts) == 1:
        return parts[0]
    names = ("ids", "position_ids", "labels")
    if not parts:
        return Rows(*(np.empty((0, seq_len), np.int64) for _ in names))
    return Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def check_step(step: int, steps: int) -> None:
    """Raise IndexError for a step outside the run."""
    if not 0 <= step < steps:
        raise IndexError(f"this run has steps 0 to {steps - 1}, not {step}")


def coverage_curve(source: Any, steps: int, points: int = 100) -> list[tuple[int, float]]:
    """(step, coverage after it) at `points` steps from 0 to `steps`, for a plot."""
    at = np.unique(np.linspace(0, steps, points + 1).round().astype(int)).tolist()
    return [(step, source.coverage(step)) for step in at]
