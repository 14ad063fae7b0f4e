"""Not worse, by a margin: non-inferiority, equivalence, and a gate that refuses what is worse.

Everything is said of a difference of mean accuracies (new less previous) with its standard error and degrees of
freedom, as `pmc_llama.stats.seeds` gives them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pmc_llama.stats.multiplicity import holm

LEVEL = 0.05
State = Literal["worse", "not worse", "undecided"]


@dataclass(frozen=True)
class Measured:
    """A difference with its standard error and degrees of freedom."""

    estimate: float
    se: float
    df: float


@dataclass(frozen=True)
class Judged:
    """What is shown of one difference of a family."""

    state: State
    p_worse: float
    """One-sided p of "the difference is not below 0", after Holm's correction over the family."""
    p_not_worse: float
    """One-sided p of "the loss is at least the margin"."""


def non_inferiority_p(difference: Measured, margin: float) -> float:
    """One-sided p of "the loss is `margin` or more": t = (estimate + margin) / se."""
    return _tail((difference.estimate + margin) / difference.se, difference.df)


def equivalence_p(difference: Measured, margin: float) -> float:
    """P of "the difference is `margin` or more in either direction": two one-sided tests (D. J. Schuirmann 1987)."""
    return max(
        non_inferiority_p(difference, margin), _tail((margin - difference.estimate) / difference.se, difference.df)
    )


def judge_losses(differences: Sequence[Measured], margin: float) -> list[Judged]:
    """What is shown of each difference of one family: worse, not worse, or neither.

    *Not worse*: a loss of `margin` or more is rejected at 5 %. *Worse*: not that, and "no loss" is rejected at 5 %
    over the whole family (one-sided, Holm). So in at most 5 % of families of equals anything is called worse, whatever
    the number of tests, questions and seeds; a loss that is sure but well within the margin is none. What is neither
    is undecided: `refusal_power` says what losses would have been noticed.
    """
    if margin <= 0:
        raise ValueError(f"a margin is a positive difference of accuracies, not {margin}")
    worse = holm([_tail(-one.estimate / one.se, one.df) for one in differences])
    judged = []
    for one, p_worse in zip(differences, worse, strict=True):
        p_not_worse = non_inferiority_p(one, margin)
        state: State = "not worse" if p_not_worse < LEVEL else "worse" if p_worse < LEVEL else "undecided"
        judged.append(Judged(state, p_worse, p_not_worse))
    return judged


def refusal_power(se: float, df: float, loss: float, margin: float, *, tests: int = 1) -> float:
    """Probability that `judge_losses` calls a true loss of `loss` worse; with `loss` 0, that it refuses an equal.

    `tests` is the size of the family; Holm's first and hardest step is taken, so that it is a lower bound.
    """
    from scipy.stats import t as student

    sure = float(student.ppf(1 - LEVEL / tests, df)) * se
    beyond = margin - float(student.ppf(1 - LEVEL, df)) * se
    return float(student.cdf((loss - max(sure, beyond)) / se, df))


def _tail(statistic: float, df: float) -> float:
    from scipy.stats import t as student

    return float(student.sf(statistic, df))
