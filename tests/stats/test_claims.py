"""What may be claimed: correction for many tests, non-inferiority with its power, and detectable differences."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pmc_llama.stats import equivalence, power
from pmc_llama.stats.equivalence import Measured
from pmc_llama.stats.intervals import wilson
from pmc_llama.stats.multiplicity import holm, primary_apart
from pmc_llama.stats.paired import mcnemar_exact

GOLDEN: Any = json.loads(Path(__file__).with_name("golden.json").read_text())


def test_values_of_statsmodels() -> None:
    for b, c, p in GOLDEN["mcnemar"]:
        assert mcnemar_exact(b, c) == pytest.approx(p)
    for k, n, low, high in GOLDEN["wilson"]:
        assert wilson(k, n) == pytest.approx((low, high))
    ps, adjusted = GOLDEN["holm"]
    assert holm(ps) == pytest.approx(adjusted)


def test_equivalence_is_two_one_sided_tests() -> None:
    d = np.array(GOLDEN["difference"])
    measured = Measured(float(d.mean()), float(d.std(ddof=1)) / math.sqrt(len(d)), len(d) - 1)
    for margin, p in GOLDEN["equivalence"]:
        assert equivalence.equivalence_p(measured, margin) == pytest.approx(p)
        assert equivalence.non_inferiority_p(measured, margin) <= p


def test_a_fixed_primary_hypothesis_is_tested_alone() -> None:
    ps = [0.04, 0.001, 0.03, 0.6]
    assert primary_apart(ps, [0]) == [0.04, *holm(ps[1:])]
    assert primary_apart(ps, [0, 2]) == [0.06, 0.002, 0.06, 0.6]
    assert primary_apart(ps, []) == holm(ps) == primary_apart(ps, range(4))
    with pytest.raises(ValueError, match="of 4 p values"):
        primary_apart(ps, [4])


@pytest.mark.parametrize(
    ("estimate", "se", "state"),
    [
        (0.0, 0.005, "not worse"),  # a loss of 2 points is excluded
        (-0.004, 0.001, "not worse"),  # a sure loss, but surely a small one
        (-0.04, 0.01, "worse"),
        (-0.01, 0.01, "undecided"),
        (0.0, 0.03, "undecided"),  # too few questions to tell
    ],
)
def test_a_revision_is_worse_not_worse_or_undecided(estimate: float, se: float, state: str) -> None:
    assert [one.state for one in equivalence.judge_losses([Measured(estimate, se, 500)], 0.02)] == [state]


def test_losses_are_one_family() -> None:
    alone = equivalence.judge_losses([Measured(-0.018, 0.01, 1000)], 0.02)
    among = equivalence.judge_losses([Measured(-0.018, 0.01, 1000), *[Measured(0.0, 0.01, 1000)] * 4], 0.02)
    assert (alone[0].state, among[0].state) == ("worse", "undecided")
    assert among[0].p_worse == pytest.approx(5 * alone[0].p_worse)
    with pytest.raises(ValueError, match="positive"):
        equivalence.judge_losses([], 0.0)


@pytest.mark.parametrize(
    ("se", "loss", "tests"), [(0.009, 0.0, 1), (0.009, 0.04, 1), (0.009, 0.02, 3), (0.004, 0.02, 1)]
)
def test_the_gates_power_is_what_happens(se: float, loss: float, tests: int) -> None:
    estimates = np.random.default_rng(1).normal(-loss, se, 1500)
    others = [Measured(0.0, se, 1e6)] * (tests - 1)
    refused = [
        equivalence.judge_losses([Measured(float(one), se, 1e6), *others], 0.02)[0].state == "worse"
        for one in estimates
    ]
    assert equivalence.refusal_power(se, 1e6, loss, 0.02, tests=tests) == pytest.approx(np.mean(refused), abs=0.04)


def test_no_detectable_difference_is_none() -> None:
    assert math.isinf(power.minimum_detectable_difference(4183, 0.0))
    assert math.isinf(power.minimum_detectable_difference(20, 0.1))  # two discordant items show nothing
    assert power.minimum_detectable_difference(1_000_000, 1e-5) >= 6 / 1_000_000  # the exact test needs six
    assert math.isinf(power.detectable_by_t(0.4, 5))


def test_a_corrected_level_needs_larger_differences() -> None:
    alone, corrected = (power.minimum_detectable_difference(1273, 0.2, alpha=alpha) for alpha in (0.05, 0.05 / 3))
    assert 1.1 < corrected / alone < 1.3
    assert power.detectable_by_t(0.01, 8, alpha=0.05 / 3) > power.detectable_by_t(0.01, 8)


def test_a_difference_that_t_detects_has_the_power_it_promises() -> None:
    rng, n = np.random.default_rng(2), 12
    difference = (
        power.detectable_by_t(1 / math.sqrt(n), n - 1) if n < 9 else 2.201 / math.sqrt(n) + 0.876 / math.sqrt(n)
    )
    assert power.detectable_by_t(0.1, n - 1) == pytest.approx(0.1 * (2.201 + 0.876), abs=2e-4)
    drawn = rng.normal(difference, 1, (4000, n))
    t = drawn.mean(1) / drawn.std(1, ddof=1) * math.sqrt(n)
    assert np.mean(np.abs(t) > 2.201) == pytest.approx(0.8, abs=0.03)
