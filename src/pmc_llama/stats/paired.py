"""Two models on the same questions, one training each: McNemar's exact test, and an interval that agrees with it.

Counts are those of the discordant questions among n: `b` that only the first model answers right, `c` that only the
second does. Differences are the second's accuracy less the first's, (c − b) / n.
"""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from pmc_llama.stats.intervals import DRAWS, Interval, bootstrap_mean

STEPS = 60
"""Halvings of [-1, 1] until a limit is known to the last digit of a float."""


def mcnemar_exact(b: int, c: int) -> float:
    """Two-sided exact McNemar p from the discordant counts: twice the smaller binomial(b + c, 1/2) tail, at most 1."""
    n, tail, term = b + c, 0, 1
    for k in range(min(b, c) + 1):
        tail += term
        term = term * (n - k) // (k + 1)
    return min(
        1.0, float(2 * tail / 2**n)
    )  # integers to the end: exact for any n, and Python divides big integers correctly


def paired_interval(n: int, b: int, c: int) -> Interval:
    """95 % interval of the difference, which holds 0 if and only if McNemar's exact p is at least 0.05.

    It is what is left when each possible difference is tested: 0 by McNemar's exact test, any other by Tango's score
    test. Tango's test alone rejects 0 somewhat more readily than the exact one; where it does so and the exact test
    does not, the interval is lengthened to end at 0. It is never empty: where no question differs, it is
    ±z² / (n + z²).
    """
    low, high = tango_interval(n, b, c)
    return (low, high) if mcnemar_exact(b, c) < 0.05 else (min(low, 0.0), max(high, 0.0))


def tango_interval(n: int, b: int, c: int, *, level: float = 0.95) -> Interval:
    """The differences that Tango's score test does not reject (T. Tango 1998, Statistics in Medicine 17:891-908)."""
    _check_counts(n, b, c)
    z = NormalDist().inv_cdf(0.5 + level / 2)
    ends = []
    for limit in (z, -z):  # the statistic falls as the difference grows
        low, high = -1.0, 1.0
        for _ in range(STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if tango_z(n, b, c, middle) > limit else (low, middle)
        ends.append((low + high) / 2)
    return ends[0], ends[1]


def tango_z(n: int, b: int, c: int, difference: float) -> float:
    """Tango's score statistic of a difference within (−1, 1): (c − b − n δ) / √(n (2q + δ (1 − δ))).

    q is the share of questions that only the first model answers right, at its most likely for that difference. At 0
    this is McNemar's (c − b) / √(b + c); positive where more is observed than `difference`.
    """
    over = c - b - n * difference
    linear = (2 * n - c + b) * difference - b - c
    root = max(0.0, linear * linear + 8 * n * b * difference * (1 - difference))  # rounding takes it just below 0
    q = (math.sqrt(root) - linear) / (4 * n)
    variance = n * (2 * q + difference * (1 - difference))
    if variance <= 0:
        return 0.0 if over == 0 else math.copysign(math.inf, over)
    return over / math.sqrt(variance)


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

    `base`, `adapted`: [n] per-item correctness, or [seeds, n] for the difference of the means over seeds: it holds the
    luck of the items, not that of training (`pmc_llama.stats.seeds` holds both).
    """
    difference = np.atleast_2d(np.asarray(adapted, float)).mean(0) - np.atleast_2d(np.asarray(base, float)).mean(0)
    return bootstrap_mean(difference, seed=seed, draws=draws)


def _check_counts(n: int, b: int, c: int) -> None:
    if n < 1 or min(b, c) < 0 or b + c > n:
        raise ValueError(f"discordant counts b={b} and c={c} do not fit {n} questions")
