"""Whether a model's probabilities mean what they say.

An answer that could not be parsed is an outcome of its own: none of the options, given with probability 1, and never
right. So it counts in both measures: confidence 1 and wrong in the calibration error, 2 (the worst) in Brier's score.
Answers that were parsed from text without any probability have none, and belong in neither.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pmc_llama.stats.intervals import Interval, percentiles

BINS = 15
FLOOR_DRAWS = 400
UNPARSED_BRIER = 2.0
By = Literal["width", "mass"]


class ReliabilityBin(msgspec.Struct, frozen=True):
    """Answers whose confidence lies in (low, high]."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


def probabilities(option_scores: ArrayLike) -> NDArray[np.float64]:
    """Softmax of option log-likelihoods [..., options], in float64."""
    scores = np.asarray(option_scores, float)
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def reliability_table(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = BINS, by: By = "width"
) -> list[ReliabilityBin]:
    """Answers binned by confidence, empty bins left out.

    `width`: equally wide bins over [0, 1]. `mass`: bins of equally many answers, bounded by the confidences met.
    """
    confidence, correct = np.asarray(confidence, float), np.asarray(correct, float)
    edges, place = np.linspace(0, 1, bins + 1), _places(confidence, bins, by)
    table = []
    for i in range(bins):
        mine = place == i
        if mine.any():
            low, high = (edges[i], edges[i + 1]) if by == "width" else (confidence[mine].min(), confidence[mine].max())
            means = float(confidence[mine].mean()), float(correct[mine].mean())
            table.append(ReliabilityBin(float(low), float(high), int(mine.sum()), *means))
    return table


def with_unparsed(
    confidence: ArrayLike, correct: ArrayLike, unparsed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Confidence and correctness of the parsed answers, and `unparsed` more that were sure and wrong."""
    confidence, correct = np.asarray(confidence, float), np.asarray(correct, float)
    return np.append(confidence, np.ones(unparsed)), np.append(correct, np.zeros(unparsed))


def ece(confidence: ArrayLike, correct: ArrayLike, *, bins: int = BINS, by: By = "width") -> float:
    """Expected calibration error: mean |accuracy − confidence| over bins, weighted by their size (Guo et al. 2017)."""
    confidence, correct = np.asarray(confidence, float), np.asarray(correct, float)
    if not len(confidence):
        return 0.0
    return float(_ece_of_gaps((correct - confidence)[None], _places(confidence, bins, by)[None], bins)[0])


def ece_floor(confidence: ArrayLike, *, bins: int = BINS, seed: int = 0, draws: int = FLOOR_DRAWS) -> float:
    """The ECE that answers with these confidences have on average if each is exactly right that often.

    It is above 0 because bins of few answers never hit their mean (J. Nixon et al. 2019; R. Roelofs et al. 2022). Mean
    over `draws` sets of answers, each right with its own confidence.
    """
    confidence = np.asarray(confidence, float)
    if not len(confidence):
        return 0.0
    rng, place = np.random.default_rng(seed), _places(confidence, bins, "width")
    means = []
    for size in _blocks(draws, len(confidence)):
        right = rng.random((size, len(confidence))) < confidence
        means += [*_ece_of_gaps(right - confidence, np.broadcast_to(place, right.shape), bins)]
    return float(np.mean(means))


def ece_interval(
    confidence: ArrayLike,
    correct: ArrayLike,
    *,
    groups: Sequence[object] | None = None,
    bins: int = BINS,
    seed: int = 0,
    draws: int = FLOOR_DRAWS,
) -> Interval:
    """95 % basic bootstrap interval of the ECE (A. C. Davison and D. V. Hinkley 1997), not below 0.

    `groups` [n] names what answers share; groups are then drawn whole.

    Drawing answers with replacement raises the ECE about as much as having few answers does, so the quantiles of the
    draws are mirrored at the ECE found: [2 e − q97.5, 2 e − q2.5].
    """
    confidence, correct = np.asarray(confidence, float), np.asarray(correct, float)
    if not len(confidence):
        return 0.0, 0.0
    rng, place = np.random.default_rng(seed), _places(confidence, bins, "width")
    found: list[float] = []
    if groups is not None:
        found += [*_ece_of_drawn_groups(correct - confidence, place, bins, groups, rng, draws)]
    for size in _blocks(draws, len(confidence)) if groups is None else ():
        picks = rng.integers(0, len(confidence), (size, len(confidence)))
        found += [*_ece_of_gaps((correct - confidence)[picks], place[picks], bins)]
    low, high = percentiles(np.array(found))
    middle = ece(confidence, correct, bins=bins)
    return max(0.0, 2 * middle - high), max(0.0, 2 * middle - low)


def _ece_of_drawn_groups(
    gaps: NDArray[np.float64],
    place: NDArray[np.int64],
    bins: int,
    groups: Sequence[object],
    rng: np.random.Generator,
    draws: int,
) -> NDArray[np.float64]:
    """ECE [draws] of correct − confidence [n] in the bins `place` [n], groups drawn with replacement."""
    group = np.unique([str(one) for one in groups], return_inverse=True)[1]
    units = int(group.max()) + 1
    sums = np.bincount(group * bins + place, gaps, minlength=units * bins).reshape(units, bins)
    drawn = rng.multinomial(units, np.full(units, 1 / units), size=draws)  # [draws, units]
    return np.asarray(np.abs(drawn @ sums).sum(1) / (drawn @ np.bincount(group)))


def brier(probability: ArrayLike, gold: ArrayLike, *, unparsed: int = 0) -> float:
    """Multi-class Brier score: mean over items of the squared distance to the one-hot gold; 0 is best, 2 worst.

    `probability`: [n, options]; `gold`: [n] option indices, of the parsed answers (G. W. Brier 1950).
    """
    probability = np.asarray(probability, float)
    target = np.zeros_like(probability)
    target[np.arange(len(target)), np.asarray(gold, int)] = 1
    return float(((probability - target) ** 2).sum() + UNPARSED_BRIER * unparsed) / (len(target) + unparsed)


def _places(confidence: NDArray[np.float64], bins: int, by: By) -> NDArray[np.int64]:
    """The bin of each answer."""
    if by == "width":
        edges = np.linspace(0, 1, bins + 1)
        return np.asarray(np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1))
    place = np.empty(len(confidence), np.int64)
    place[np.argsort(confidence, kind="stable")] = np.arange(len(confidence)) * bins // max(len(confidence), 1)
    return place


def _ece_of_gaps(gaps: NDArray[np.float64], place: NDArray[np.int64], bins: int) -> NDArray[np.float64]:
    """ECE [draws] of correct − confidence [draws, n] in the bins `place` [draws, n]."""
    draws, n = gaps.shape
    flat = (place + bins * np.arange(draws)[:, None]).ravel()
    sums = np.bincount(flat, gaps.ravel(), minlength=draws * bins).reshape(draws, bins)
    return np.asarray(np.abs(sums).sum(1) / n)


def _blocks(draws: int, n: int) -> list[int]:
    """`draws` in parts of at most some million numbers."""
    size = max(1, 2_000_000 // n)
    return [size] * (draws // size) + [draws % size] * (draws % size > 0)
