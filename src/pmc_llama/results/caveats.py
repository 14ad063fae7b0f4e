"""What stands under the verdict: what it is about, what it cost, and what limits it."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from msgspec import UNSET

from pmc_llama.records.results import Accuracy, Baseline, Results, Summary
from pmc_llama.results.text import count, listing, percent

PARSED = 0.95
"""Below this share of answers that could be parsed, the page and the console say so."""


def caveats_of(
    results: Results, rows: Sequence[Summary], general: tuple[float, float] | None, outside: Sequence[str]
) -> list[str]:
    """The sentences under the verdict on `rows`, one regime's.

    `general` is the perplexity on general text before and after continued pre-training; `outside` words the
    differences of tasks out of domain that the verdict's sentence does not speak of.
    """
    about = [row for row in results.rows if (row.regime, row.task) in {(row.regime, row.task) for row in rows}]
    found = [_unit(rows), _cost(general, outside), *unparsed(about), _baseline(rows, results.baselines)]
    return [text for text in found if text]


def called(model: str) -> str:
    """A model in a sentence."""
    return {"base": "the base", "adapted": "the adapted model"}.get(model, model)


def unparsed(rows: Iterable[Accuracy]) -> list[str]:
    """A sentence for each regime in which a model's answers to a task were parsed too seldom."""
    shares: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        shares.setdefault((row.regime, row.task, row.model), []).append(row.parse_rate)
    low = [(key, sum(rates) / len(rates)) for key, rates in shares.items() if sum(rates) / len(rates) < PARSED]
    return [
        f"In the regime {regime} fewer than {percent(PARSED, 0)} of the answers could be parsed: "
        + listing([f"{task}, {model} {percent(rate)}" for (_, task, model), rate in named])
        + ". What cannot be parsed is wrong, so these accuracies speak of form as much as of knowledge."
        for regime, group in groupby(low, key=lambda one: one[0][0])
        for named in [list(group)]
    ]


def _unit(rows: Sequence[Summary]) -> str:
    """What the interval and p are about, in the words of the row that says least."""
    units = {row.unit for row in rows}
    if "models" in units:
        return (
            "One training seed: what is shown is about these two models. A claim about the method needs several seeds, "
            "since training again could change the difference."
        )
    if "tuning" in units:
        return (
            "Tuning was repeated with several seeds, continued pre-training was not: what is shown is about this "
            "adapted model and its base, however they are tuned, and not about another pre-training."
        )
    several = next((row.pretrainings for row in rows if row.pretrainings is not UNSET), None)
    if several is None:
        return ""
    return (
        f"Continued pre-training was repeated with {count(several)} seeds: what is shown is about the method, and the "
        "luck of these few trainings is in the interval and in p."
    )


def _cost(general: tuple[float, float] | None, outside: Sequence[str]) -> str:
    """What stands beside a gain: perplexity on general text, and the tasks out of domain."""
    parts = []
    if general is not None:
        parts.append(f"perplexity on held-out general text {general[0]:.2f} before and {general[1]:.2f} after")
    if outside:
        parts.append(f"out of domain, {'; '.join(outside)}")
    return f"What it cost: {', and '.join(parts)}." if parts else ""


def _baseline(rows: Sequence[Summary], baselines: Sequence[Baseline]) -> str:
    best = {row.task: max(row.majority, row.chance or 0.0) for row in baselines}
    weak = [row for row in rows if row.second_ci95[0] <= best[row.task]]
    if not weak:
        return ""
    named = listing([f"{row.task} ({percent(best[row.task])})" for row in weak])
    return (
        f"On {named} {called(rows[0].second)} is not shown to beat a constant answer: its accuracy there says little."
    )
