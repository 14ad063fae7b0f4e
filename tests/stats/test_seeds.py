"""Seeds x items: against tables of variance made by statsmodels, and on worlds where the truth is known."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student

from pmc_llama.stats.paired import mcnemar_exact, paired_interval
from pmc_llama.stats.seeds import Contrast, seeds_by_items

GOLDEN: Any = json.loads(Path(__file__).with_name("golden.json").read_text())
RIGHT = np.array(GOLDEN["answers"])  # [2, seeds, n]
GROUPS = GOLDEN["groups"]
N = RIGHT.shape[2]


def from_components(items: float, items_df: float, parts: dict[str, float]) -> Contrast:
    """What the formulas of the docstring give from components that another program computed."""
    free, pseudo = RIGHT.shape[1] - 1, 2 / N**2
    nets = [max(0.0, parts[f"seeds_{i}"] - parts[f"double_{i}"]) for i in (0, 1)]
    variance = items + pseudo + sum(nets)
    whole = sum(parts[f"seeds_{i}"] ** 2 / free for i in (0, 1))
    df = variance**2 / ((items + pseudo) ** 2 / items_df + whole)
    se, estimate = math.sqrt(variance), float(RIGHT[1].mean() - RIGHT[0].mean())
    half = student.isf(0.025, df) * se
    p = 2 * student.cdf(-abs(estimate) / se, df)
    return Contrast(estimate, (estimate - half, estimate + half), p, se, df, "tuning")


def same(found: Contrast, expected: Contrast) -> None:
    assert found.unit == expected.unit
    assert found.ci95 == pytest.approx(expected.ci95, rel=1e-9)
    assert (found.estimate, found.p, found.se, found.df) == pytest.approx(
        (expected.estimate, expected.p, expected.se, expected.df), rel=1e-9
    )


def test_crossed_effects_have_the_components_of_a_table_of_variance() -> None:
    items = GOLDEN["item_variance"] * (N - 1) / N * N / (N - 1)  # statsmodels divides by n - 1 as well
    same(seeds_by_items(RIGHT[0], RIGHT[1]), from_components(items, N - 1, GOLDEN["components"]))


def test_groups_of_questions_are_clusters() -> None:
    found = seeds_by_items(RIGHT[0], RIGHT[1], groups=GROUPS)
    means = [np.array([one[:, np.array(GROUPS) == g].mean(1) for g in range(12)]).T for one in RIGHT]  # [seeds, groups]
    double = {}
    for i, table in enumerate(means):  # groups of one size: their means are a table of their own
        rest = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
        double[f"double_{i}"] = float((rest**2).sum()) / (3 * 11) / 12 / 4
    same(found, from_components(GOLDEN["components"]["clustered"], 11, GOLDEN["components"] | double))


def test_one_training_is_about_two_models_and_is_mcnemars_test() -> None:
    found = seeds_by_items(RIGHT[0, 0], RIGHT[1, :1])
    b, c = int((RIGHT[0, 0] > RIGHT[1, 0]).sum()), int((RIGHT[0, 0] < RIGHT[1, 0]).sum())
    assert (found.unit, found.p, found.ci95) == ("models", mcnemar_exact(b, c), paired_interval(N, b, c))


def test_one_training_with_groups_is_a_t_test_of_clusters() -> None:
    found = seeds_by_items(RIGHT[0, 0], RIGHT[1, 0], groups=GROUPS)
    sums = (RIGHT[1, 0] - RIGHT[0, 0]).reshape(12, 5).sum(1)
    se = math.sqrt(sums.var(ddof=1) * 12 / N**2 + 2 / N**2)
    assert (found.unit, found.df) == ("models", pytest.approx(11))
    assert found.p == pytest.approx(2 * student.sf(abs(sums.sum() / N) / se, 11))


def test_pre_training_is_outermost_and_its_seeds_alone_count() -> None:
    rng = np.random.default_rng(5)
    base, adapted = rng.random((3, 80)) < 0.5, rng.random((2, 3, 80)) < 0.6
    nested = seeds_by_items(base, adapted)
    assert nested.unit == "method"
    means = seeds_by_items(base, adapted.mean(1))  # tuning seeds are nested: only their mean counts
    assert (nested.estimate, nested.se, nested.df) == pytest.approx((means.estimate, means.se, means.df))
    more = seeds_by_items(base, np.repeat(adapted, 7, axis=1))  # tuning again and again makes pre-training no surer
    assert (more.se, more.df) == pytest.approx((nested.se, nested.df))


def test_a_single_pre_training_leaves_the_tuning_seeds_as_units() -> None:
    rng = np.random.default_rng(6)
    base, adapted = rng.random((3, 50)) < 0.5, rng.random((1, 3, 50)) < 0.6
    assert seeds_by_items(base, adapted) == seeds_by_items(base, adapted[0])
    assert seeds_by_items(base, adapted).unit == "tuning"


def test_interval_and_p_never_contradict_each_other() -> None:
    rng = np.random.default_rng(7)
    for _ in range(300):
        seeds, n = int(rng.integers(1, 5)), int(rng.integers(2, 80))
        base, adapted = (rng.random((seeds, n)) < share for share in rng.random(2))
        groups = None if rng.random() < 0.5 else [i % max(2, n // 3) for i in range(n)]
        found = seeds_by_items(base, adapted, groups=groups)
        assert (found.ci95[0] <= 0 <= found.ci95[1]) == (found.p >= 0.05)
        assert -1 <= found.ci95[0] < found.ci95[1] <= 1


def test_no_difference_at_all_is_not_certainty() -> None:
    same_answers = np.tile(np.arange(40) % 2, (3, 1))
    found = seeds_by_items(same_answers, same_answers)
    assert (found.estimate, found.p) == (0.0, 1.0)
    assert found.ci95[1] > 0.05
    every = seeds_by_items(np.zeros((3, 40)), np.ones((3, 40)))
    assert every.estimate == 1.0 and 0.8 < every.ci95[0] < 1.0 == every.ci95[1]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        seeds_by_items(np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match="do not fit"):
        seeds_by_items(np.ones(3), np.ones(3), groups=["a"])
    with pytest.raises(ValueError, match="one group"):
        seeds_by_items(np.ones(3), np.zeros(3), groups=["a"] * 3)
    with pytest.raises(ValueError, match="expected"):
        seeds_by_items(np.ones((0, 3)), np.ones(3))
