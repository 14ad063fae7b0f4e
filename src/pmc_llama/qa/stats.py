"""How sure the numbers are: intervals, paired tests, corrections for many tests, power, and calibration."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

Interval = tuple[float, float]
Z95 = NormalDist().inv_cdf(0.975)
DRAWS = 10_000
BINS = 15


def wilson(k: float, n: int) -> Interval:
    """Wilson score interval of k right among n, at 95 % (E. B. Wilson 1927); k may be a mean over seeds."""
    if not 0 <= k <= n or n == 0:
        raise ValueError(f"wilson needs 0 <= k <= n and n > 0, not k={k}, n={n}")
    share, z2 = k / n, Z95 * Z95
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return (0.0 if k == 0 else centre - half, 1.0 if k == n else centre + half)


def mcnemar_exact(b: int, c: int) -> float:
    """Two-sided exact McNemar p from the discordant counts: twice the smaller binomial(b + c, 1/2) tail, at most 1."""
    n, tail, term = b + c, 0, 1
    for k in range(min(b, c) + 1):
        tail += term
        term = term * (n - k) // (k + 1)
    return min(
        1.0, float(2 * tail / 2**n)
    )  # integers to the end: exact for any n, and Python divides big integers correctly


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values, in the order given (S. Holm 1979)."""
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = largest
    return adjusted


def by_group(groups: Sequence[str | None], correct: ArrayLike) -> dict[str, tuple[int, int, Interval]]:
    """Right answers, questions and 95 % interval of each group (a subject, say), largest group first."""
    right = np.asarray(correct, bool)
    names = np.array([group or "unknown" for group in groups])
    counts = {str(name): (int(right[names == name].sum()), int((names == name).sum())) for name in np.unique(names)}
    ordered = sorted(counts.items(), key=lambda item: -item[1][1])
    return {name: (k, n, wilson(k, n)) for name, (k, n) in ordered}


def paired_se(n: int, b: int, c: int) -> float:
    """Standard error of the difference of two accuracies on the same n items, from the discordant counts."""
    if n < 2:
        raise ValueError(f"a paired standard error needs at least 2 items, not {n}")
    return math.sqrt(max(0.0, (b + c) - (c - b) ** 2 / n) / (n - 1) / n)


def unpaired_se(n: int, k_x: int, k_y: int) -> float:
    """Standard error of the difference of two accuracies as if measured on different items: too wide for pairs."""
    return math.sqrt(sum((k / n) * (1 - k / n) / (n - 1) for k in (k_x, k_y)))


def paired_bootstrap(base: ArrayLike, adapted: ArrayLike, *, seed: int = 0, draws: int = DRAWS) -> Interval:
    """95 % percentile interval of mean(adapted − base), items drawn with replacement.

    `base`, `adapted`: [n] per-item correctness, or [seeds, n] for the difference of the means over seeds.
    """
    difference = np.atleast_2d(np.asarray(adapted, float)).mean(0) - np.atleast_2d(np.asarray(base, float)).mean(0)
    return bootstrap_mean(difference, seed=seed, draws=draws)


def bootstrap_mean(values: ArrayLike, *, seed: int = 0, draws: int = DRAWS) -> Interval:
    """95 % percentile interval of the mean of `values` [n], items drawn with replacement."""
    items = np.asarray(values, float)  # [n]
    distinct, inverse = np.unique(items, return_inverse=True)
    counts = np.bincount(inverse)
    drawn = np.random.default_rng(seed).multinomial(len(items), counts / len(items), size=draws)  # [draws, distinct]
    return _percentiles(drawn @ distinct / len(items))


def macro_f1(gold: ArrayLike, chosen: ArrayLike) -> float:
    """Mean F1 over the labels present in gold or chosen; unparsed answers (−1) are no label, but miss the gold one."""
    gold, chosen = np.asarray(gold), np.asarray(chosen)
    labels = np.unique(np.concatenate([gold, chosen[chosen >= 0]]))
    size = len(labels)
    table = np.zeros((size, size + 1))  # [gold, chosen or unparsed]
    column = np.where(chosen >= 0, np.searchsorted(labels, chosen), size)
    np.add.at(table, (np.searchsorted(labels, gold), column), 1)
    return float(_macro_f1_of_tables(table[None])[0])


def macro_f1_bootstrap(gold: ArrayLike, chosen: ArrayLike, *, seed: int = 0, draws: int = DRAWS) -> Interval:
    """95 % percentile interval of macro-F1, items drawn with replacement."""
    gold, chosen = np.asarray(gold), np.asarray(chosen)
    labels = np.unique(np.concatenate([gold, chosen[chosen >= 0]]))
    size, n = len(labels), len(gold)
    column = np.where(chosen >= 0, np.searchsorted(labels, chosen), size)
    cells = np.bincount(np.searchsorted(labels, gold) * (size + 1) + column, minlength=size * (size + 1))
    drawn = np.random.default_rng(seed).multinomial(n, cells / n, size=draws)
    return _percentiles(_macro_f1_of_tables(drawn.reshape(draws, size, size + 1)))


def _macro_f1_of_tables(tables: NDArray[np.generic]) -> NDArray[np.float64]:
    """Macro-F1 of confusion tables [draws, labels, labels + 1]; the last column holds unparsed answers."""
    size = tables.shape[1]
    right = np.diagonal(tables[:, :, :size], axis1=1, axis2=2).astype(float)  # [draws, labels]
    present = tables.sum(2) + tables[:, :, :size].sum(1)  # gold + chosen = 2tp + fp + fn
    f1 = np.divide(2 * right, present, out=np.zeros_like(right), where=present > 0)
    return np.asarray(f1.sum(1) / np.maximum((present > 0).sum(1), 1), dtype=np.float64)


def _percentiles(values: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def minimum_detectable_difference(n: int, discordant: float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest difference of two accuracies on the same n items that a paired test finds with this power.

    `discordant`: share of items that exactly one of the two gets right, (b + c) / n. Normal approximation of McNemar's
    test; the difference cannot exceed `discordant`, so `inf` is returned where no difference could be shown.
    """
    z_alpha, z_power = NormalDist().inv_cdf(1 - alpha / 2), NormalDist().inv_cdf(power)
    low, high = 0.0, discordant
    if n * discordant**2 < (z_alpha * math.sqrt(discordant) + z_power * math.sqrt(discordant - discordant**2)) ** 2:
        return math.inf
    for _ in range(100):
        middle = (low + high) / 2
        need = z_alpha * math.sqrt(discordant) + z_power * math.sqrt(max(0.0, discordant - middle**2))
        low, high = (middle, high) if middle * math.sqrt(n) < need else (low, middle)
    return high


def unpaired_detectable_difference(n: int, share: float = 0.5, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest difference of two accuracies near `share` that two independent samples of n show with this power."""
    z = NormalDist().inv_cdf(1 - alpha / 2) + NormalDist().inv_cdf(power)
    return z * math.sqrt(2 * share * (1 - share) / n)


class ReliabilityBin(msgspec.Struct, frozen=True):
    """Answers whose confidence lies in (low, high]."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


def probabilities(option_scores: ArrayLike) -> NDArray[np.float64]:
    """Softmax of option log-likelihoods [..., options], in float64."""
    scores = np.asarray(option_scores, float)
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def reliability_table(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = BINS, by: Literal["width", "mass"] = "width"
) -> list[ReliabilityBin]:
    """Answers binned by confidence, empty bins left out.

    `width`: equally wide bins over [0, 1]. `mass`: bins of equally many answers, bounded by the confidences met.
    """
    confidence, correct = np.asarray(confidence, float), np.asarray(correct, float)
    if by == "width":
        edges = np.linspace(0, 1, bins + 1)
        place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    else:
        order = np.argsort(confidence, kind="stable")
        place = np.empty(len(confidence), int)
        place[order] = np.arange(len(confidence)) * bins // max(len(confidence), 1)
    table = []
    for i in range(bins):
        mine = place == i
        if mine.any():
            low, high = (edges[i], edges[i + 1]) if by == "width" else (confidence[mine].min(), confidence[mine].max())
            means = float(confidence[mine].mean()), float(correct[mine].mean())
            table.append(ReliabilityBin(float(low), float(high), int(mine.sum()), *means))
    return table


def ece(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = BINS, by: Literal["width", "mass"] = "width"
) -> float:
    """Expected calibration error: mean |accuracy − confidence| over bins, weighted by their size (Guo et al. 2017)."""
    table = reliability_table(confidence, correct, bins=bins, by=by)
    total = sum(one.n for one in table)
    return sum(one.n * abs(one.accuracy - one.confidence) for one in table) / total if total else 0.0


def brier(probability: ArrayLike, gold: ArrayLike) -> float:
    """Multi-class Brier score: mean over items of the squared distance to the one-hot gold; 0 is best, 2 worst.

    `probability`: [n, options]; `gold`: [n] option indices.
    """
    probability = np.asarray(probability, float)
    target = np.zeros_like(probability)
    target[np.arange(len(target)), np.asarray(gold, int)] = 1
    return float(((probability - target) ** 2).sum(1).mean())
