"""Questions that share something are one case: intervals of one model's measures, against groups drawn one by one."""

import numpy as np
import pytest

from pmc_llama.stats.calibration import ece, ece_interval
from pmc_llama.stats.intervals import share_interval, wilson
from pmc_llama.stats.macro_f1 import macro_f1, macro_f1_interval

GROUPS, SIZE = 40, 6


def world(seed: int, spread: float) -> tuple[list[str], "np.ndarray[tuple[int], np.dtype[np.bool_]]"]:
    """Groups of questions whose chance to be answered right differs by group."""
    rng = np.random.default_rng(seed)
    chance = np.clip(0.6 + spread * rng.standard_normal(GROUPS), 0, 1)
    names = [f"drug {i}" for i in range(GROUPS) for _ in range(SIZE)]
    return names, rng.random(GROUPS * SIZE) < np.repeat(chance, SIZE)


def test_without_groups_it_is_wilsons_interval() -> None:
    _, right = world(0, 0.0)
    assert share_interval(right) == wilson(float(right.sum()), len(right))
    assert share_interval(np.ones(9), list("aaabbbccc")) == wilson(9, 9)


def test_whole_groups_alike_count_as_one_question_each() -> None:
    right = np.repeat(np.arange(GROUPS) % 2 == 0, SIZE)
    names = [f"drug {i // SIZE}" for i in range(GROUPS * SIZE)]
    low, high = share_interval(right, names)
    expected = wilson(GROUPS / 2 * (GROUPS - 1) / GROUPS, GROUPS - 1)  # the n - 1 of a variance that is estimated
    assert (low, high) == pytest.approx(expected)


def test_intervals_hold_the_truth_of_new_groups() -> None:
    held = {True: 0, False: 0}
    for seed in range(300):
        names, right = world(seed, 0.3)
        for grouped in held:
            low, high = share_interval(right, names if grouped else None)
            held[grouped] += low <= 0.5805 <= high  # the mean of a normal that is cut at 0 and 1
    assert 0.92 <= held[True] / 300 <= 0.98
    assert held[False] / 300 < 0.85


def test_a_single_group_has_no_interval() -> None:
    with pytest.raises(ValueError, match="single case"):
        share_interval([1, 0, 1], ["a", "a", "a"])


def test_bootstraps_draw_whole_groups() -> None:
    names, right = world(3, 0.4)
    gold = np.arange(len(right)) % 3
    chosen = np.where(right, gold, (gold + 1) % 3)
    confidence = np.where(np.arange(len(right)) % 2 == 0, 0.9, 0.55)
    of_group = np.arange(len(right)).reshape(GROUPS, SIZE)
    rng, f1, error = np.random.default_rng(9), [], []
    for _ in range(1500):
        picks = of_group[rng.integers(0, GROUPS, GROUPS)].ravel()
        f1.append(macro_f1(gold[picks], chosen[picks]))
        error.append(ece(confidence[picks], right[picks]))
    assert macro_f1_interval(gold, chosen, groups=names) == pytest.approx(np.percentile(f1, [2.5, 97.5]), abs=0.012)
    found, (q_low, q_high) = ece(confidence, right), np.percentile(error, [2.5, 97.5])
    expected = (max(0.0, 2 * found - q_high), max(0.0, 2 * found - q_low))
    assert ece_interval(confidence, right, groups=names, draws=1500) == pytest.approx(expected, abs=0.012)
    low, high = macro_f1_interval(gold, chosen)
    wide = macro_f1_interval(gold, chosen, groups=names)
    assert wide[1] - wide[0] > 1.2 * (high - low)
