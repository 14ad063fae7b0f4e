"""Two models on the same questions: the interval and McNemar's p say the same, whatever the counts."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar

from pmc_llama.stats import paired

LARGEST = 60


def test_the_interval_holds_0_if_and_only_if_p_is_at_least_5_percent() -> None:
    wrong = []
    for n in range(1, LARGEST + 1):
        for b in range(n + 1):
            for c in range(b, n - b + 1):  # the other half mirrors it, as the next test says
                low, high = paired.paired_interval(n, b, c)
                if (low <= 0 <= high) != (paired.mcnemar_exact(b, c) >= 0.05) or not -1 <= low < high <= 1:
                    wrong.append((n, b, c, low, high))
    assert wrong == []


def test_also_with_thousands_of_questions_just_about_significant() -> None:
    for n, differing in ((500, 120), (1273, 400), (4183, 1200), (4183, 4183)):
        for b in range(max(0, differing // 2 - 80), differing // 2 + 1):
            c = differing - b
            low, high = paired.paired_interval(n, b, c)
            assert (low <= 0 <= high) == (paired.mcnemar_exact(b, c) >= 0.05), (n, b, c)


def test_exchanging_the_models_mirrors_the_interval() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 7, 60, 4183):
        b, c, _ = (int(one) for one in rng.multinomial(n, [0.1, 0.2, 0.7]))
        low, high = paired.paired_interval(n, b, c)
        assert paired.paired_interval(n, c, b) == pytest.approx((-high, -low), abs=1e-12)


def test_tango_of_the_published_example_contradicts_the_exact_test_and_the_interval_does_not() -> None:
    """Airway hyper-responsiveness of 21 children (Bentur et al. 2009): b = 1, c = 7."""
    low, high = paired.tango_interval(21, 7, 1)
    assert (low, high) == pytest.approx((-0.517, -0.026), abs=5e-4)
    assert paired.mcnemar_exact(7, 1) == pytest.approx(0.0703, abs=5e-5)
    assert paired.paired_interval(21, 7, 1) == (low, 0.0)


def brute_force_z(n: int, b: int, c: int, difference: float) -> float:
    """The score statistic with its nuisance share found by maximising the likelihood, not by the closed form."""

    def cost(q: float) -> float:
        shares, counts = (q, q + difference, 1 - 2 * q - difference), (b, c, n - b - c)
        return -sum(count * math.log(max(share, 1e-300)) for share, count in zip(shares, counts, strict=True) if count)

    low, high = max(0.0, -difference), (1 - difference) / 2
    q = minimize_scalar(cost, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    return (c - b - n * difference) / math.sqrt(n * (2 * q + difference - difference**2))


@pytest.mark.parametrize(("n", "b", "c"), [(21, 7, 1), (44, 3, 14), (500, 55, 73), (1273, 43, 285), (40, 0, 9)])
def test_tango_against_a_maximised_likelihood(n: int, b: int, c: int) -> None:
    low, high = paired.tango_interval(n, b, c)
    expected = [
        brentq(lambda d, z=z: brute_force_z(n, b, c, d) - z, -0.999 if z > 0 else (c - b) / n - 1e-3, 0.999, xtol=1e-9)
        for z in (1.959963984540054, -1.959963984540054)
    ]
    assert (low, high) == pytest.approx(expected, abs=2e-5)


def test_at_no_difference_tango_is_mcnemar_without_correction() -> None:
    assert paired.tango_z(100, 4, 13, 0.0) == pytest.approx(9 / math.sqrt(17))


def test_where_nothing_differs_the_interval_is_that_of_a_share_of_none() -> None:
    z2 = 1.959963984540054**2
    assert paired.paired_interval(50, 0, 0) == pytest.approx((-z2 / (50 + z2), z2 / (50 + z2)))


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    for n, shares in ((60, (0.1, 0.2, 0.7)), (300, (0.02, 0.05, 0.93)), (1273, (0.15, 0.15, 0.7))):
        counts = rng.multinomial(n, shares, 600)
        limits = [paired.paired_interval(n, int(b), int(c)) for b, c, _ in counts]
        covered = np.mean([low <= shares[1] - shares[0] <= high for low, high in limits])
        assert 0.93 <= covered <= 0.985, (n, covered)


def test_counts_that_do_not_fit_are_refused() -> None:
    for n, b, c in ((0, 0, 0), (5, 3, 3), (5, -1, 2)):
        with pytest.raises(ValueError, match=f"{n} questions"):
            paired.paired_interval(n, b, c)


def test_every_table_has_an_interval_also_where_one_model_is_right_alone() -> None:
    for n in range(1, 61):
        for b in range(n + 1):
            for c in (0, n - b):
                for first, second in ((b, c), (c, b)):
                    low, high = paired.paired_interval(n, first, second)
                    assert -1 <= low <= (second - first) / n <= high <= 1
