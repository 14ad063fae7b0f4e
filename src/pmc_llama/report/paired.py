"""Exact paired test over several seeds: McNemar's test where a question may count more than once."""

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


def sign_flip_p(differences: Counts) -> float:
    """Two-sided exact p of the sum of paired integer differences, each of whose signs is a fair coin under the null.

    `differences` [N] holds, for each question, in how many seeds the adapted model was right less in how many the base
    was. With one seed this is McNemar's exact test; with more, questions (not answers) stay the independent units, so
    that repeating a seed adds no false certainty. The distribution is convolved exactly, not sampled.
    """
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    pmf = np.ones(1)  # of (sum + total) / 2, where total = Σ |difference|
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        spread = np.zeros(size * count + 1)
        spread[::size] = _fair_binomial(count)
        pmf = np.convolve(pmf, spread)
    total = len(pmf) - 1
    upper = (total + abs(int(differences.sum()))) // 2
    return min(1.0, 2.0 * float(pmf[upper:].sum()))


def _fair_binomial(n: int) -> NDArray[np.float64]:
    """Probabilities of 0 … n heads in n fair throws."""
    from scipy.stats import binom

    return np.asarray(binom.pmf(np.arange(n + 1), n, 0.5), dtype=np.float64)
