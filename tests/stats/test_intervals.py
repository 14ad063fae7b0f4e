"""Intervals, tests and calibration, against published and hand-computed values."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from pmc_llama.stats.calibration import brier, ece, probabilities, reliability_table
from pmc_llama.stats.intervals import Z95, by_group, wilson
from pmc_llama.stats.macro_f1 import macro_f1, macro_f1_interval
from pmc_llama.stats.multiplicity import holm
from pmc_llama.stats.paired import mcnemar_exact, paired_bootstrap, paired_se, unpaired_se
from pmc_llama.stats.power import minimum_detectable_difference, unpaired_detectable_difference

PAIRS = {  # real answers of two models: n, right of x, right of y, Wilson of both, b, c, p, paired and unpaired SE
    "mmlu": (1089, 794, 974, (0.7019, 0.7547), (0.8747, 0.9113), 25, 205, 2.425e-36, 0.01300, 0.01638),
    "medqa": (1273, 827, 1069, (0.6230, 0.6754), (0.8186, 0.8589), 43, 285, 6.083e-45, 0.01320, 0.01687),
    "medmcqa": (4183, 2316, 2923, (0.5386, 0.5687), (0.6847, 0.7125), 295, 902, 7.107e-72, 0.00796, 0.01046),
    "pubmedqa": (500, 180, 198, (0.3191, 0.4030), (0.3541, 0.4395), 55, 73, 0.1326, 0.02259, 0.03068),
    "bioasq": (618, 459, 521, (0.7068, 0.7756), (0.8123, 0.8696), 26, 88, 4.59e-09, 0.01681, 0.02289),
}


@pytest.mark.parametrize("task", PAIRS)
def test_real_pairs_of_models(task: str) -> None:
    n, k_x, k_y, wilson_x, wilson_y, b, c, p, paired, unpaired = PAIRS[task]
    assert wilson(k_x, n) == pytest.approx(wilson_x, abs=5e-5)
    assert wilson(k_y, n) == pytest.approx(wilson_y, abs=5e-5)
    assert mcnemar_exact(b, c) == pytest.approx(p, rel=5e-4)
    assert paired_se(n, b, c) == pytest.approx(paired, abs=5e-6)
    assert unpaired_se(n, k_x, k_y) == pytest.approx(unpaired, abs=5e-6)
    assert k_y - k_x == c - b


def test_holm_over_the_real_pairs() -> None:
    adjusted = holm([mcnemar_exact(row[5], row[6]) for row in PAIRS.values()])
    assert adjusted == pytest.approx([7.275e-36, 2.433e-44, 3.554e-71, 0.1326, 9.18e-09], rel=5e-4)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        (0, 10, 0.000000, 0.277533),
        (10, 10, 0.722467, 1.000000),
        (1, 20, 0.008881, 0.236131),
        (276, 500, 0.508180, 0.595027),
        (353, 1273, 0.253404, 0.302531),
        (367, 1273, 0.264079, 0.313786),
        (1348, 4183, 0.308263, 0.336577),
    ],
)
def test_wilson(k: int, n: int, low: float, high: float) -> None:
    assert wilson(k, n) == pytest.approx((low, high), abs=5e-7)


@pytest.mark.parametrize(
    ("b", "c", "p"),
    [(0, 0, 1), (0, 1, 1), (5, 0, 0.0625), (1, 6, 0.125), (3, 9, 0.145996), (0, 10, 0.00195312), (10, 10, 1)],
)
def test_mcnemar(b: int, c: int, p: float) -> None:
    assert mcnemar_exact(b, c) == pytest.approx(p, rel=3e-6)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_two_sided_binomial_test(b: int, c: int) -> None:
    expected = binomtest(b, b + c).pvalue if b + c else 1.0
    assert mcnemar_exact(b, c) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_exact(b, c) == mcnemar_exact(c, b)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_keeps_the_order_and_never_helps(ps: list[float]) -> None:
    adjusted = holm(ps)
    assert all(p <= q <= 1 for p, q in zip(ps, adjusted, strict=True))
    ranked = sorted(zip(ps, adjusted, strict=True))
    assert [q for _, q in ranked] == sorted(q for _, q in ranked)


def test_wilson_refuses_what_is_no_share() -> None:
    with pytest.raises(ValueError, match="k=3, n=2"):
        wilson(3, 2)
    with pytest.raises(ValueError, match="n=0"):
        wilson(0, 0)


def test_macro_f1_of_the_majority_answer() -> None:
    gold = np.repeat([0, 1, 2], [276, 169, 55])
    assert macro_f1(gold, np.zeros(500, int)) == pytest.approx(0.237113, abs=5e-7)


def test_macro_f1_counts_an_unparsed_answer_as_missed() -> None:
    assert macro_f1([0, 0, 1], [0, -1, 1]) == pytest.approx((2 / 3 + 1) / 2)
    assert macro_f1([0, 1], [-1, -1]) == 0.0
    assert macro_f1([0, 0], [0, 2]) == pytest.approx((2 / 3 + 0) / 2)  # a label that only the model names counts


def test_macro_f1_interval_equals_drawing_items_one_by_one() -> None:
    rng = np.random.default_rng(3)
    gold, chosen = rng.integers(0, 3, 200), rng.integers(-1, 3, 200)
    low, high = macro_f1_interval(gold, chosen, seed=1)
    picks = rng.integers(0, 200, (2000, 200))
    slow = np.percentile([macro_f1(gold[i], chosen[i]) for i in picks], [2.5, 97.5])
    assert (low, high) == pytest.approx(tuple(slow), abs=0.01)
    assert (low, high) == macro_f1_interval(gold, chosen, seed=1)


def test_paired_bootstrap_agrees_with_the_paired_standard_error() -> None:
    n, b, c = 1273, 43, 285
    base, adapted = np.zeros(n), np.zeros(n)
    base[:b] = 1
    adapted[b : b + c] = 1
    low, high = paired_bootstrap(base, adapted, seed=0)
    half = Z95 * paired_se(n, b, c)
    difference = (c - b) / n
    assert (low, high) == pytest.approx((difference - half, difference + half), abs=0.0015)
    both = paired_bootstrap([base, base], [adapted, adapted], seed=0)
    assert both == (low, high)  # equal seeds add nothing


def test_smallest_detectable_differences() -> None:
    unpaired = [unpaired_detectable_difference(n) for n in (500, 1273, 4183)]
    assert unpaired == pytest.approx([0.089, 0.055, 0.031], abs=6e-4)
    assert math.isinf(minimum_detectable_difference(20, 0.1))  # two discordant items show nothing
    smaller = [minimum_detectable_difference(n, 0.2) for n in (500, 1273, 4183)]
    assert smaller == sorted(smaller, reverse=True)


def test_detectable_difference_has_the_power_it_promises() -> None:
    n, discordant = 500, 0.3
    difference = minimum_detectable_difference(n, discordant)
    rng = np.random.default_rng(0)
    shares = [(discordant - difference) / 2, (discordant + difference) / 2, 1 - discordant]
    found = [mcnemar_exact(int(b), int(c)) < 0.05 for b, c, _ in rng.multinomial(n, shares, 2000)]
    assert 0.75 < np.mean(found) < 0.85


def test_calibration_error_of_the_reference_case() -> None:
    confidence, correct = [0.92, 0.83, 0.61, 0.55], [1, 1, 0, 1]
    assert ece(confidence, correct) == pytest.approx(0.3275)
    table = reliability_table(confidence, correct)
    assert sum(one.n for one in table) == 4
    assert all(one.low < one.confidence <= one.high for one in table)


def test_calibration_bins_of_equal_mass_hold_equally_many() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.beta(8, 2, 300)
    table = reliability_table(confidence, rng.random(300) < confidence, by="mass")
    assert [one.n for one in table] == [20] * 15
    assert ece(confidence, rng.random(300) < confidence, by="mass") < 0.15


def test_brier_and_probabilities() -> None:
    probability = probabilities([[0.0, 0.0], [-1000.0, 0.0]])
    assert probability.tolist() == [[0.5, 0.5], [0.0, 1.0]]
    assert brier(probability, [0, 1]) == pytest.approx(0.25)


def test_groups_are_counted_apart() -> None:
    found = by_group(["a", "b", "b", None, "b"], [1, 0, 1, 1, 1])
    assert list(found) == ["b", "a", "unknown"]
    assert found["b"] == (2, 3, wilson(2, 3))
