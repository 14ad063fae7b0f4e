"""Paired statistics over seeds: McNemar's test where a question counts more than once, and an interval never empty."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pmc_llama.stats.paired import paired_bootstrap

Counts = NDArray[np.int64]


def sign_flip_p(differences: Counts) -> float:
    """Two-sided exact p of the sum of paired integer differences, each of whose signs is a fair coin under the null.

    `differences` [N] holds, for each question, in how many seeds the second model was right less in how many the first
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


def paired_interval(left: ArrayLike, right: ArrayLike) -> tuple[float, float]:
    """95 % interval of mean(right − left) over questions [N]: the paired bootstrap, but never an empty one.

    Where no question differs, the bootstrap gives [0, 0], as if the difference were known to be none. The share of
    questions that would differ is then only known to be below 1 − 0.025^(1/N), and the difference with it.
    """
    left, right = np.asarray(left, float), np.asarray(right, float)
    if not np.array_equal(left, right):
        return paired_bootstrap(left, right)
    bound = 1 - 0.025 ** (1 / len(left))
    return -bound, bound


def _fair_binomial(n: int) -> NDArray[np.float64]:
    """Probabilities of 0 … n heads in n fair throws."""
    from scipy.stats import binom

    return np.asarray(binom.pmf(np.arange(n + 1), n, 0.5), dtype=np.float64)
