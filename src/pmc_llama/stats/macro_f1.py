"""Macro-F1: every label counts alike, however rare it is."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pmc_llama.stats.intervals import DRAWS, Interval, percentiles


def macro_f1(gold: ArrayLike, chosen: ArrayLike) -> float:
    """Mean F1 over the labels present in gold or chosen; unparsed answers (−1) are no label, but miss the gold one."""
    labels, cells = _confusion(gold, chosen)
    return float(_of_tables(cells.reshape(1, labels, labels + 1))[0])


def macro_f1_interval(
    gold: ArrayLike,
    chosen: ArrayLike,
    *,
    groups: Sequence[object] | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> Interval:
    """95 % percentile interval of macro-F1, items drawn with replacement (B. Efron 1979); `groups` [n] drawn whole."""
    labels, cells = _confusion(gold, chosen)
    rng, n = np.random.default_rng(seed), int(cells.sum())
    if groups is None:
        drawn = rng.multinomial(n, cells / n, size=draws)
    else:
        place, pair = np.unique([str(one) for one in groups], return_inverse=True)[1], _pairs(gold, chosen)[1]
        units = int(place.max()) + 1
        of_group = np.zeros((units, len(cells)), np.int64)
        np.add.at(of_group, (place, pair), 1)
        drawn = rng.multinomial(units, np.full(units, 1 / units), size=draws) @ of_group
    return percentiles(_of_tables(drawn.reshape(draws, labels, labels + 1)))


def _confusion(gold: ArrayLike, chosen: ArrayLike) -> tuple[int, NDArray[np.int64]]:
    """How many labels there are, and a count for each pair of a gold label and a chosen one (or unparsed, last)."""
    size, pair = _pairs(gold, chosen)
    return size, np.bincount(pair, minlength=size * (size + 1))


def _pairs(gold: ArrayLike, chosen: ArrayLike) -> tuple[int, NDArray[np.int64]]:
    """How many labels there are, and the place of each answer's pair of labels [n]."""
    gold, chosen = np.asarray(gold), np.asarray(chosen)
    labels = np.unique(np.concatenate([gold, chosen[chosen >= 0]]))
    size = len(labels)
    column = np.where(chosen >= 0, np.searchsorted(labels, chosen), size)
    return size, np.asarray(np.searchsorted(labels, gold) * (size + 1) + column, np.int64)


def _of_tables(tables: NDArray[np.int64]) -> NDArray[np.float64]:
    """Macro-F1 of confusion tables [draws, labels, labels + 1]; the last column holds unparsed answers."""
    size = tables.shape[1]
    right = np.diagonal(tables[:, :, :size], axis1=1, axis2=2).astype(float)  # [draws, labels]
    present = tables.sum(2) + tables[:, :, :size].sum(1)  # gold + chosen = 2tp + fp + fn
    f1 = np.divide(2 * right, present, out=np.zeros_like(right), where=present > 0)
    return np.asarray(f1.sum(1) / np.maximum((present > 0).sum(1), 1), dtype=np.float64)
