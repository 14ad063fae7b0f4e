"""Intervals of shares and means, at 95 %."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Interval = tuple[float, float]
Z95 = NormalDist().inv_cdf(0.975)
DRAWS = 10_000


def wilson(k: float, n: float) -> Interval:
    """Wilson score interval of k right among n, at 95 % (E. B. Wilson 1927); k may be a mean over seeds.

    n may be an effective number of questions, see `share_interval`.
    """
    if not 0 <= k <= n or n == 0:
        raise ValueError(f"wilson needs 0 <= k <= n and n > 0, not k={k}, n={n}")
    share, z2 = k / n, Z95 * Z95
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return (0.0 if k == 0 else centre - half, 1.0 if k == n else centre + half)


def share_interval(right: ArrayLike, groups: Sequence[object] | None = None) -> Interval:
    """95 % interval of the mean of `right` [n], shares of right answers by question; Wilson's without `groups`.

    `groups` [n] names what questions share: Wilson's interval of the effective number of questions, n over the design
    effect, the variance with groups as units over that without (L. Kish 1965; E. L. Korn and B. I. Graubard 1998). It
    is taken as 1 at least. Raises ValueError for a single group.
    """
    values = np.asarray(right, float)
    n, total = len(values), float(values.sum())
    share = total / n
    if groups is None or not 0 < share < 1:
        return wilson(total, n)
    place = np.unique([str(one) for one in groups], return_inverse=True)[1]
    units = int(place.max()) + 1
    if units == 1:
        raise ValueError("one group of questions is a single case, from which no interval follows")
    sums = np.bincount(place, values - share)
    effect = max(1.0, float((sums**2).sum()) * units / (units - 1) / n / (share * (1 - share)))
    return wilson(total / effect, n / effect)


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
