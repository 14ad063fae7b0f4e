"""Intervals of shares and means, at 95 %."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Interval = tuple[float, float]
Z95 = NormalDist().inv_cdf(0.975)
DRAWS = 10_000


def wilson(k: float, n: int) -> Interval:
    """Wilson score interval of k right among n, at 95 % (E. B. Wilson 1927); k may be a mean over seeds."""
    if not 0 <= k <= n or n == 0:
        raise ValueError(f"wilson needs 0 <= k <= n and n > 0, not k={k}, n={n}")
    share, z2 = k / n, Z95 * Z95
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return (0.0 if k == 0 else centre - half, 1.0 if k == n else centre + half)


def by_group(groups: Sequence[str | None], correct: ArrayLike) -> dict[str, tuple[int, int, Interval]]:
    """Right answers, questions and 95 % interval of each group (a subject, say), largest group first."""
    right = np.asarray(correct, bool)
    names = np.array([group or "unknown" for group in groups])
    counts = {str(name): (int(right[names == name].sum()), int((names == name).sum())) for name in np.unique(names)}
    ordered = sorted(counts.items(), key=lambda item: -item[1][1])
    return {name: (k, n, wilson(k, n)) for name, (k, n) in ordered}


def bootstrap_mean(values: ArrayLike, *, seed: int = 0, draws: int = DRAWS) -> Interval:
    """95 % percentile interval of the mean of `values` [n], items drawn with replacement (B. Efron 1979)."""
    items = np.asarray(values, float)  # [n]
    distinct, inverse = np.unique(items, return_inverse=True)
    counts = np.bincount(inverse)
    drawn = np.random.default_rng(seed).multinomial(len(items), counts / len(items), size=draws)  # [draws, distinct]
    return percentiles(drawn @ distinct / len(items))


def percentiles(values: NDArray[np.float64]) -> Interval:
    """The middle 95 % of drawn values."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
