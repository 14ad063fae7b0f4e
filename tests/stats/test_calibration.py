"""Calibration: its floor, its interval, and answers that could not be parsed."""

import numpy as np
import pytest
from scipy.stats import binom

from pmc_llama.stats import calibration


def test_the_floor_of_one_confidence_is_a_mean_distance_of_the_binomial() -> None:
    n, share = 40, 0.7
    k = np.arange(n + 1)
    expected = float((binom.pmf(k, n, share) * np.abs(k / n - share)).sum())
    assert calibration.ece_floor(np.full(n, share), draws=20_000) == pytest.approx(expected, rel=0.02)


def test_a_perfectly_calibrated_model_has_the_floor_and_an_overconfident_one_more() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.beta(5, 3, (200, 300))
    found = [calibration.ece(one, rng.random(300) < one) for one in confidence]
    floor = calibration.ece_floor(confidence[0])
    assert 0.02 < floor == pytest.approx(np.mean(found), rel=0.1)
    assert calibration.ece(confidence[0], rng.random(300) < confidence[0] - 0.15) > 2 * floor


def test_the_floor_falls_with_more_answers() -> None:
    rng = np.random.default_rng(0)
    floors = [calibration.ece_floor(rng.beta(5, 3, n)) for n in (100, 1000, 10_000)]
    assert floors[0] > 2 * floors[1] > 4 * floors[2] > 0


def test_the_interval_is_the_mirrored_bootstrap_drawn_one_by_one() -> None:
    rng = np.random.default_rng(1)
    confidence = rng.beta(5, 2, 300)
    right = rng.random(300) < confidence - 0.15
    low, high = calibration.ece_interval(confidence, right, seed=1)
    middle, picks = calibration.ece(confidence, right), rng.integers(0, 300, (1500, 300))
    drawn = np.percentile([calibration.ece(confidence[i], right[i]) for i in picks], [2.5, 97.5])
    assert (low, high) == pytest.approx((2 * middle - drawn[1], 2 * middle - drawn[0]), abs=0.012)
    assert 0 <= low < high


def test_the_interval_covers_the_true_error() -> None:
    rng, covered = np.random.default_rng(2), 0
    for _ in range(100):
        confidence = rng.choice([0.55, 0.75, 0.95], 500)
        low, high = calibration.ece_interval(confidence, rng.random(500) < confidence - 0.15, draws=200)
        covered += low <= 0.15 <= high
    assert covered >= 89


def test_an_unparsed_answer_was_sure_and_wrong() -> None:
    confidence, right = calibration.with_unparsed([0.9, 0.9], [1, 1], 2)
    assert confidence.tolist() == [0.9, 0.9, 1.0, 1.0]
    assert calibration.ece(confidence, right) == pytest.approx((2 * 0.1 + 2 * 1) / 4)
    assert calibration.brier([[1.0, 0.0]], [0], unparsed=1) == pytest.approx(1.0)
    assert calibration.brier([[1.0, 0.0], [0.2, 0.8]], [0, 0], unparsed=2) == pytest.approx((1.28 + 4) / 4)


def test_nothing_answered_has_no_error() -> None:
    assert calibration.ece([], []) == calibration.ece_floor([]) == 0.0
    assert calibration.ece_interval([], []) == (0.0, 0.0)
