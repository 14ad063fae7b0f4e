"""The verdict in one sentence: gain, loss, both, or no difference shown, with how sure that is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pmc_llama.recipe.qa import RegimeSection
from pmc_llama.records.results import Difference, OverSeeds, Results, Summary
from pmc_llama.results.caveats import called, caveats_of
from pmc_llama.results.text import count, listing, p_equals, percent_points, plural, points, signed_interval
from pmc_llama.stats.equivalence import Measured, equivalence_p
from pmc_llama.stats.power import detectable_by_t, minimum_detectable_difference

Kind = Literal["gain", "loss", "mixed", "none", "untested"]
Finding = Literal["gain", "loss", "none"]
ALPHA = 0.05
SMALL = 0.02
"""Below two percentage points a difference is called small, where the primary question states no other margin."""


@dataclass(frozen=True)
class Verdict:
    """What the run shows. `sentence` holds the finding and its uncertainty, `caveats` what limits it."""

    kind: Kind
    regime: str | None
    headline: str
    sentence: str
    caveats: list[str]


def finding(row: OverSeeds) -> Finding:
    """What one summary row shows: a difference if Holm's p is below 5 %."""
    if row.holm_p >= ALPHA or not row.delta_mean:
        return "none"
    return "gain" if row.delta_mean > 0 else "loss"


def tone(row: OverSeeds) -> str:
    """The colour of a row: its finding if it is part of the primary question; nothing else is coloured."""
    return finding(row).replace("none", "") if isinstance(row, Summary) and row.primary else ""


def primary_regime(results: Results, regimes: Mapping[str, RegimeSection]) -> str | None:
    """The regime that the verdict is about: that of the primary question.

    Without one, the recipe's first full tuning on all questions, else the first regime that compares the two models.
    """
    asked = [row.regime for row in results.summary if row.primary]
    compared = list(dict.fromkeys(row.regime for row in results.summary))
    full = [name for name, section in regimes.items() if section.kind == "full" and section.fraction == 1]
    return next((name for name in [*asked, *full] if name in compared), compared[0] if compared else None)


def judge(
    results: Results,
    regimes: Mapping[str, RegimeSection],
    *,
    margin: float = SMALL,
    general: tuple[float, float] | None = None,
    changes: str = "",
) -> Verdict:
    """The verdict on the primary question.

    `general` is the perplexity on general text before and after continued pre-training, `changes` what is to be said of
    the question itself. Differences under `margin` are called small.
    """
    regime = primary_regime(results, regimes)
    of_regime = [row for row in results.summary if row.regime == regime]
    rows = [row for row in of_regime if row.primary] or of_regime
    if regime is None or not rows:
        sentence = "No questions were answered by both models, so nothing can be said about the difference."
        return Verdict("untested", None, "Not tested", sentence, [])
    first, second = called(rows[0].first), called(rows[0].second)
    gains = [row for row in rows if finding(row) == "gain"]
    losses = [row for row in rows if finding(row) == "loss"]
    outside = [effect(row) for row in of_regime if row not in rows and row.protocol == "out_of_domain"]
    caveats = [*caveats_of(results, rows, general, outside), *filter(None, [changes])]
    if gains and losses:
        better = f"{_on(gains, rows)} {second} is better: {_effects(gains, margin)}"
        sentence = f"{better}; {_on(losses, rows, 'on')} it is worse: {_effects(losses, margin)}"
        return Verdict("mixed", regime, "Gain and loss", _finish(sentence, rows), caveats)
    if gains or losses:
        kind: Kind = "gain" if gains else "loss"
        more, found = ("more", gains) if gains else ("fewer", losses)
        start = f"{_on(found, rows)} {second} answers {more} questions right than {first}: "
        headline = _sized(kind.capitalize(), found, margin)
        return Verdict(kind, regime, headline, _finish(start + _effects(found, margin), rows), caveats)
    return Verdict("none", regime, "No difference shown", _null(rows, results.comparisons, margin), caveats)


def effect(row: Summary, margin: float = 0.0) -> str:
    """One row in words: 'usmle +4.0 points (95 % interval +1.0 to +7.0; p = 0.010)'."""
    small = ", a small effect" if abs(row.delta_mean) < margin else ""
    sure = f"95 % interval {signed_interval(row.ci95)}; {p_equals(row.holm_p)}"
    return f"{row.task} {points(row.delta_mean)} points ({sure}{small})"


def _sized(word: str, rows: list[Summary], margin: float) -> str:
    return f"Small {word.lower()}" if all(abs(row.delta_mean) < margin for row in rows) else word


def _on(found: list[Summary], rows: list[Summary], start: str = "On") -> str:
    return f"{start} {count(len(found))} of {plural(len(rows), 'task')}"


def _effects(rows: list[Summary], margin: float) -> str:
    return "; ".join(effect(row, margin) for row in sorted(rows, key=lambda row: -abs(row.delta_mean)))


def _finish(sentence: str, rows: list[Summary]) -> str:
    rest = [row.task for row in rows if finding(row) == "none"]
    ending = f"; on {listing(rest)} no difference is shown" if rest else ""
    return f"{sentence}{ending}."


def _null(rows: list[Summary], comparisons: Sequence[Difference], margin: float) -> str:
    widest = max(rows, key=lambda row: abs(row.delta_mean))
    sure = f"95 % interval {signed_interval(widest.ci95)}; smallest Holm {p_equals(min(row.holm_p for row in rows))}"
    sentence = (
        f"On {plural(len(rows), 'task')} {called(widest.second)} is not shown to be better or worse than "
        f"{called(widest.first)}: the "
        f"largest difference is {points(widest.delta_mean)} points on {widest.task} ({sure})"
    )
    seen, asked = _detectable(widest, comparisons, ALPHA / len(rows)), plural(widest.n, "question")
    if math.isinf(seen):
        return f"{sentence}, and {asked} are too few to show any."
    unseen = f"{sentence}; with {asked} a true difference under {percent_points(seen)} may well stay unseen"
    if _equal(rows, margin):
        return f"{unseen}, and one of {percent_points(margin)} or more is excluded on every task."
    return f"{unseen}."


def _equal(rows: list[Summary], margin: float) -> bool:
    """Whether differences of the margin or more are excluded on all tasks together, at 5 %."""
    known = [Measured(row.delta_mean, row.se, row.df) for row in rows if row.se is not None and row.df is not None]
    return len(known) == len(rows) and all(equivalence_p(one, margin) < ALPHA / len(rows) for one in known)


def _detectable(row: Summary, comparisons: Sequence[Difference], alpha: float) -> float:
    """The smallest difference that the row's test would probably have shown at the corrected level."""
    if row.unit != "models" and row.se is not None and row.df is not None:
        return detectable_by_t(row.se, row.df, alpha=alpha)
    pairs = [one for one in comparisons if (one.regime, one.task) == (row.regime, row.task)]
    discordant = sum(one.b + one.c for one in pairs) / max(sum(one.n for one in pairs), 1)
    return minimum_detectable_difference(row.n, discordant, alpha=alpha)
