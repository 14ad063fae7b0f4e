"""The verdict in one sentence: gain, loss, both, or no difference shown, with how sure that is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pmc_llama.recipe.qa import RegimeSection
from pmc_llama.records.results import Baseline, Difference, OverSeeds, Results, Summary
from pmc_llama.report.text import count, listing, p_equals, percent, plural, points, signed_interval
from pmc_llama.stats.power import minimum_detectable_difference

Kind = Literal["gain", "loss", "mixed", "none", "untested"]
ALPHA = 0.05
SMALL = 0.02
"""Below two percentage points a difference is called small, however surely it is shown."""


@dataclass(frozen=True)
class Verdict:
    """What the run shows. `sentence` holds the finding and its uncertainty, `caveats` what limits it."""

    kind: Kind
    regime: str | None
    headline: str
    sentence: str
    caveats: list[str]


def finding(row: OverSeeds) -> Literal["gain", "loss", "none"]:
    """What one summary row shows: Holm's p below 5 %, and the same sign in every seed."""
    if row.holm_p >= ALPHA:
        return "none"
    if row.delta_min > 0:
        return "gain"
    return "loss" if row.delta_max < 0 else "none"


def primary_regime(results: Results, regimes: Mapping[str, RegimeSection]) -> str | None:
    """The regime that the verdict is about, chosen before looking: the recipe's first full tuning on all questions.

    Without one, the first regime that compares the two models.
    """
    compared = list(dict.fromkeys(row.regime for row in results.summary))
    full = [name for name, section in regimes.items() if section.kind == "full" and section.fraction == 1]
    return next((name for name in full if name in compared), compared[0] if compared else None)


def judge(results: Results, regimes: Mapping[str, RegimeSection]) -> Verdict:
    """The verdict on the primary regime."""
    regime = primary_regime(results, regimes)
    rows = [row for row in results.summary if row.regime == regime]
    if regime is None or not rows:
        sentence = "No questions were answered by both models, so nothing can be said about the difference."
        return Verdict("untested", None, "Not tested", sentence, [])
    gains = [row for row in rows if finding(row) == "gain"]
    losses = [row for row in rows if finding(row) == "loss"]
    caveats = [text for text in (_seeds(rows), _baseline(rows, results.baselines)) if text]
    if gains and losses:
        better = f"{_on(gains, rows)} the adapted model is better: {_effects(gains)}"
        sentence = f"{better}; {_on(losses, rows, 'on')} it is worse: {_effects(losses)}"
        return Verdict("mixed", regime, "Gain and loss", _finish(sentence, rows), caveats)
    if gains:
        sentence = f"{_on(gains, rows)} the adapted model answers more questions right than the base: {_effects(gains)}"
        return Verdict("gain", regime, _sized("Gain", gains), _finish(sentence, rows), caveats)
    if losses:
        sentence = (
            f"{_on(losses, rows)} the adapted model answers fewer questions right than the base: {_effects(losses)}"
        )
        return Verdict("loss", regime, _sized("Loss", losses), _finish(sentence, rows), caveats)
    return Verdict("none", regime, "No difference shown", _null(rows, results.comparisons), caveats)


def _sized(word: str, rows: list[Summary]) -> str:
    return f"Small {word.lower()}" if all(abs(row.delta_mean) < SMALL for row in rows) else word


def _on(found: list[Summary], rows: list[Summary], start: str = "On") -> str:
    return f"{start} {count(len(found))} of {plural(len(rows), 'task')}"


def _effects(rows: list[Summary]) -> str:
    return "; ".join(_effect(row) for row in sorted(rows, key=lambda row: -abs(row.delta_mean)))


def _effect(row: Summary) -> str:
    small = ", a small effect" if abs(row.delta_mean) < SMALL else ""
    sure = f"95 % interval {signed_interval(row.ci95)}; {p_equals(row.holm_p)}"
    return f"{row.task} {points(row.delta_mean)} points ({sure}{small})"


def _finish(sentence: str, rows: list[Summary]) -> str:
    rest = [row.task for row in rows if finding(row) == "none"]
    ending = f"; on {listing(rest)} no difference is shown" if rest else ""
    return f"{sentence}{ending}."


def _null(rows: list[Summary], comparisons: list[Difference]) -> str:
    widest = max(rows, key=lambda row: abs(row.delta_mean))
    sure = f"95 % interval {signed_interval(widest.ci95)}; smallest Holm {p_equals(min(row.holm_p for row in rows))}"
    sentence = (
        f"On {plural(len(rows), 'task')} the adapted model is not shown to be better or worse than the base: the "
        f"largest difference is {points(widest.delta_mean)} points on {widest.task} ({sure})"
    )
    pairs = [one for one in comparisons if (one.regime, one.task) == (widest.regime, widest.task)]
    discordant = sum(one.b + one.c for one in pairs) / sum(one.n for one in pairs)
    seen = minimum_detectable_difference(widest.n, discordant)
    asked = plural(widest.n, "question")
    if math.isinf(seen):
        return f"{sentence}, and {asked} are too few to show any."
    return f"{sentence}; with {asked} a true difference under {100 * seen:.0f} points may well stay unseen."


def _seeds(rows: list[Summary]) -> str:
    if min(row.seeds for row in rows) < 2:
        return "One training seed: the intervals hold the luck of the questions, not that of training."
    split = [row.task for row in rows if row.holm_p < ALPHA and row.delta_min * row.delta_max <= 0]
    return f"On {listing(split)} the seeds disagree about the sign, so nothing is claimed there." if split else ""


def _baseline(rows: list[Summary], baselines: list[Baseline]) -> str:
    best = {row.task: max(row.majority, row.chance or 0.0) for row in baselines}
    weak = [row for row in rows if row.second_ci95[0] <= best[row.task]]
    if not weak:
        return ""
    named = listing([f"{row.task} ({percent(best[row.task])})" for row in weak])
    return f"On {named} the adapted model is not shown to beat a constant answer: its accuracy there says little."
