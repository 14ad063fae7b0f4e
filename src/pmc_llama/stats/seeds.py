"""Seeds x items: what is shown of methods whose models were trained more than once and asked the same questions.

Questions and trainings are both drawn by chance, and every model answers every question: crossed random effects. The
variance of a difference of means is that of the questions plus that of each method's trainings; the few trainings
decide the degrees of freedom.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pmc_llama.stats.intervals import Interval
from pmc_llama.stats.paired import mcnemar_exact, paired_interval

Unit = Literal["models", "tuning", "method"]
Floats = NDArray[np.float64]
Part = tuple[float, float, int]
"""A share of a variance; the estimate that its degrees of freedom belong to; these."""


@dataclass(frozen=True)
class Contrast:
    """The second method's mean accuracy less the first's. `ci95` holds 0 if and only if `p` is at least 0.05."""

    estimate: float
    ci95: Interval
    p: float
    se: float
    df: float
    unit: Unit
    """What it is about: these two models, these two models tuned again, or the method from pre-training on."""


def seeds_by_items(first: ArrayLike, second: ArrayLike, *, groups: Sequence[object] | None = None) -> Contrast:
    """The difference between two methods over their trainings and the questions that both were asked.

    `first`, `second`: correctness [n] of one model, [tuning seeds, n], or [pre-training seeds, tuning seeds, n]; the
    numbers of seeds may differ. `groups` [n] names what questions share (drug, passage, exam): groups, not questions,
    are then the units.

    Trainings are the outermost level that was repeated: with several pre-training seeds these, each with the mean over
    its tuning seeds (which are nested in it), else the tuning seeds. With x[t, i] the correctness of training t on
    question i and d[i] the difference of the means over trainings,

        V = (Σ (d − mean d)² + 2) / n² + Σ over both methods of max(0, s² / T − r / (T n)),

    s² being the variance over t of the mean of x over questions, and r the mean square of what is left of x without
    its training and question means: it stands in both of the other terms, and is taken out once (the moment estimates
    of crossed random effects, S. R. Searle et al. 1992, Variance Components). The 2 is that of one question more for
    either side (D. G. Bonett and R. M. Price 2012), so that questions without any difference do not make certainty.
    Degrees of freedom after F. E. Satterthwaite (1946), with s² / T whole for the trainings' share of V: taking
    something out of it makes it no surer. t gives interval and p, so that these cannot contradict each other.

    With one training on either side the questions alone are drawn by chance: McNemar's exact test, `paired_interval`,
    and the unit is "models".

    Raises ValueError for other shapes, different questions, or a single group.
    """
    from scipy.stats import t as student

    left, right = _as_cube(first), _as_cube(second)
    if left.shape[2] != right.shape[2] or (groups is not None and len(groups) != left.shape[2]):
        raise ValueError(f"{left.shape[2]}, {right.shape[2]} questions or their groups do not fit each other")
    place = None if groups is None else np.unique([str(one) for one in groups], return_inverse=True)[1]
    if place is not None and place.max() == 0:
        raise ValueError("one group of questions is a single case, from which no interval follows")
    unit: Unit = "models"
    if max(left.shape[1], right.shape[1]) > 1:
        unit = "tuning"
    if max(left.shape[0], right.shape[0]) > 1:
        unit = "method"
    trainings = [_trainings(cube) for cube in (left, right)]
    difference = trainings[1].mean(0) - trainings[0].mean(0)  # [n]
    estimate = float(difference.mean())
    parts = [_questions(difference, place), *(_seeds(one, place) for one in trainings if len(one) > 1)]
    variance = sum(value for value, _, _ in parts)
    df = variance**2 / sum(whole**2 / free for _, whole, free in parts)
    se = math.sqrt(variance)
    if unit == "models" and place is None:
        b, c = int((difference < 0).sum()), int((difference > 0).sum())
        return Contrast(estimate, paired_interval(len(difference), b, c), mcnemar_exact(b, c), se, df, unit)
    half = float(student.ppf(0.975, df)) * se
    p = float(2 * student.sf(abs(estimate) / se, df))
    return Contrast(estimate, (max(-1.0, estimate - half), min(1.0, estimate + half)), p, se, df, unit)


def _as_cube(correct: ArrayLike) -> Floats:
    """[pre-training seeds, tuning seeds, n]."""
    values = np.asarray(correct, float)
    if not 1 <= values.ndim <= 3 or values.size == 0:
        raise ValueError(f"correctness of shape {values.shape}: expected [n], [seeds, n] or [seeds, seeds, n]")
    return values.reshape((1,) * (3 - values.ndim) + values.shape)


def _trainings(cube: Floats) -> Floats:
    """Correctness by training and question [T, n] at the outermost level that was repeated."""
    return np.asarray(cube.mean(1) if len(cube) > 1 else cube[0])


def _questions(difference: Floats, place: NDArray[np.intp] | None) -> Part:
    """What the questions add to the variance of the mean difference."""
    n = len(difference)
    sums = _sums(difference - difference.mean(), place)
    units = len(sums)
    scale = units / max(units - 1, 1)
    value = float((scale * (sums**2).sum() + 2) / n**2)
    return value, value, max(units - 1, 1)


def _seeds(x: Floats, place: NDArray[np.intp] | None) -> Part:
    """What a method's trainings add to it, without what the questions' part holds of that already."""
    trainings, n = x.shape
    rest = x - x.mean(1, keepdims=True) - x.mean(0) + x.mean()
    sums = np.stack([_sums(one, place) for one in rest])  # [T, units]
    units = sums.shape[1]
    free = trainings - 1
    double = float((sums**2).sum()) * units / max(units - 1, 1) / free / trainings / n**2
    whole = float(x.mean(1).var(ddof=1)) / trainings
    return max(0.0, whole - double), whole, free


def _sums(values: Floats, place: NDArray[np.intp] | None) -> Floats:
    """Sums by group of questions; the values themselves without groups."""
    return values if place is None else np.asarray(np.bincount(place, values), dtype=np.float64)
