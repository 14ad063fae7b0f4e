"""The figures of the results: differences with intervals, data efficiency, reliability."""

from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib.axes import Axes

from pmc_llama.recipe.comparisons import OWN_MODELS, Pair
from pmc_llama.recipe.qa import RegimeSection
from pmc_llama.records.results import Difference, Mean, Results, Summary, fields
from pmc_llama.report.layout import Column, Row
from pmc_llama.report.svg import ADAPTED, INK, LOSS, MUTED, PAPER, RULE, Figure, figure, legend, model_colours
from pmc_llama.report.views import accuracy, less, training_columns
from pmc_llama.results.predictions import Cell
from pmc_llama.results.text import count, p_value, percent, plural, points, signed_interval
from pmc_llama.results.verdict import finding, tone
from pmc_llama.stats.calibration import ReliabilityBin, reliability_table

TONES = {"gain": ADAPTED, "loss": LOSS, "": MUTED}
BINS = 10
"""Bins of the reliability plots; the ECE in the tables has 15, these fewer ones are there to be seen."""


def forests(results: Results) -> list[Figure]:
    """A forest plot for each comparison."""
    return [forest(results.between(pair), pair) for pair in results.compared]


def forest(results: Results, pair: Pair) -> Figure:
    """The seed-mean difference of every regime and task with its interval; single seeds as small marks.

    `results` holds the comparisons of `pair` alone, at least one.
    """
    rows, (first, second) = results.summary, pair

    def plot(axes: Axes) -> None:
        for place, row in enumerate(rows):
            colour = TONES[tone(row)]
            axes.plot([100 * end for end in row.ci95], [place, place], color=colour, linewidth=2)
            fill = PAPER if finding(row) == "none" else colour
            axes.plot(100 * row.delta_mean, place, "o", color=colour, markerfacecolor=fill)
            seeds = [100 * one.delta for one in results.comparisons if _same_cell(one, row)]
            if len(seeds) > 1:
                axes.plot(seeds, [place + 0.32] * len(seeds), "|", color=MUTED, markersize=5)
        axes.axvline(0, color=INK, linewidth=1)
        axes.set_yticks(range(len(rows)), [f"{row.regime} · {row.task}" for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"{less(pair)}, percentage points")

    columns = [
        Column("regime", "Regime"),
        Column("task", "Task"),
        *training_columns(rows),
        Column("delta_mean", "Difference", points),
        Column("ci95", "95 % interval", signed_interval),
        Column("delta_sd", "SD over seeds", points_without_sign),
        Column("holm_p", "Holm p", p_value),
    ]
    shown = [finding(row) for row in rows]
    alt = (
        f"{plural(len(rows), 'difference')} between {second} and {first}: {shown.count('gain')} gains shown, "
        f"{shown.count('loss')} losses shown, {shown.count('none')} not shown"
    )
    data = [Row(fields(row), "", {"regime": row.regime, "task": row.task}) for row in rows]
    return figure(
        f"forest-{first}-{second}",
        f"{second.capitalize() if second in OWN_MODELS else second} less {first}",
        plot,
        alt=alt,
        columns=columns,
        rows=data,
        note="Line: 95 % interval. Filled: shown after Holm's correction. Coloured: the primary question. "
        "Small marks beneath: single trainings.",
        height_in=0.8 + 0.3 * len(rows),
    )


def points_without_sign(difference: float) -> str:
    """A size in points: '1.8'."""
    return points(difference).lstrip("+")


def _same_cell(one: Difference, other: Summary) -> bool:
    return (one.regime, one.task) == (other.regime, other.task)


def data_efficiency(results: Results, regimes_of: Mapping[str, RegimeSection]) -> list[Figure]:
    """Accuracy against the share of the training questions, one panel a tuned task; needs two shares or more."""
    groups: dict[tuple[str, tuple[str, ...]], dict[float, str]] = {}
    for name, section in regimes_of.items():
        if section.tasks:
            groups.setdefault((section.kind, tuple(section.tasks)), {})[section.fraction] = name
    figures = []
    for (kind, tuned), regimes in groups.items():
        for task in tuned:
            of: dict[str, dict[str, Mean]] = {}
            for row in results.means:
                if row.task == task:
                    of.setdefault(row.regime, {})[row.model] = row
            found = [(share, of[name]) for share, name in sorted(regimes.items()) if name in of]
            if len(found) > 1:
                figures.append(_efficiency(f"efficiency-{kind}-{task}", task, found))
    return figures


def _efficiency(name: str, task: str, found: list[tuple[float, dict[str, Mean]]]) -> Figure:
    """`found` holds for each share its row of every model that was tuned on it."""
    shares, models = [100 * share for share, _ in found], list(found[0][1])
    colours = model_colours(models)

    def plot(axes: Axes) -> None:
        for model in models:
            low, high = ([100 * rows[model].ci95[end] for _, rows in found] for end in (0, 1))
            axes.fill_between(shares, low, high, color=colours[model], alpha=0.15, linewidth=0)
            means = [100 * rows[model].mean for _, rows in found]
            axes.plot(shares, means, "o-", color=colours[model], label=model, markersize=4)
        axes.set_xscale("log")
        axes.set_xticks(shares, [f"{share:g}" for share in shares])
        axes.minorticks_off()
        axes.set_xlabel("share of the training questions, % (log scale)")
        axes.set_ylabel("accuracy, %")
        legend(axes)

    columns = [Column("share", "Training questions", percent)]
    columns += [Column(model, model, percent, "95 % interval") for model in models]
    data = [
        Row({"share": share} | {model: accuracy(row) for model, row in rows.items()}, "", {"regime": _regime(rows)})
        for share, rows in found
    ]
    (_, least), (_, most) = found[0], found[-1]
    ends = [f"{model} from {percent(least[model].mean)} to {percent(most[model].mean)}" for model in models]
    span = f"{percent(found[0][0])} to {percent(found[-1][0])}"
    alt = f"Accuracy on {task} with {span} of the training questions: {', '.join(ends)}"
    return figure(name, f"{task}: fewer training questions", plot, alt=alt, columns=columns, rows=data)


def _regime(rows: Mapping[str, Mean]) -> str:
    return next(iter(rows.values())).regime


def reliability(found: Iterable[Cell], regime: str | None) -> list[Figure]:
    """Accuracy against confidence for one regime, a panel per task, seeds pooled."""
    tasks: dict[str, dict[str, list[Cell]]] = {}
    for cell in found:
        if cell.regime == regime:
            tasks.setdefault(cell.task, {}).setdefault(cell.model, []).append(cell)
    binned = {task: {model: _bins(seeds) for model, seeds in models.items()} for task, models in tasks.items()}
    shown = {task: {model: bins for model, bins in models.items() if bins} for task, models in binned.items()}
    return [_reliability(task, models) for task, models in shown.items() if models]


def _bins(seeds: list[Cell]) -> list[ReliabilityBin]:
    confidence = np.concatenate([cell.confidence for cell in seeds])
    correct = np.concatenate([cell.correct for cell in seeds])
    answered = ~np.isnan(confidence)
    return reliability_table(confidence[answered], correct[answered], bins=BINS)


def _reliability(task: str, models: dict[str, list[ReliabilityBin]]) -> Figure:
    colours = model_colours(list(models))

    def plot(axes: Axes) -> None:
        axes.plot([0, 100], [0, 100], color=RULE, linewidth=1.2)
        for model, bins in models.items():
            x, y = [100 * one.confidence for one in bins], [100 * one.accuracy for one in bins]
            sizes = [8 + 60 * one.n / max(one.n for one in bins) for one in bins]
            axes.plot(x, y, color=colours[model], linewidth=1, alpha=0.6)
            axes.scatter(x, y, s=sizes, color=colours[model], linewidths=0, label=model, clip_on=False, zorder=3)
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.set_xlabel("probability of the chosen option, %")
        axes.set_ylabel("right, %")
        legend(axes)

    columns = [
        Column("model", "Model"),
        Column("low", "Probability over", percent),
        Column("n", "Answers", count),
        Column("confidence", "Mean probability", percent),
        Column("accuracy", "Right", percent),
    ]
    data = [
        Row({"model": model, "low": one.low, "n": one.n, "confidence": one.confidence, "accuracy": one.accuracy})
        for model, bins in models.items()
        for one in bins
    ]
    alt = f"Share of right answers on {task} against the probability of the chosen option; on the diagonal they agree"
    note = (
        f"{BINS} bins of equal width, empty ones left out; the area of a point is its number of answers; seeds pooled."
    )
    name = f"reliability-{task}"
    return figure(name, f"{task}: probability and truth", plot, alt=alt, columns=columns, rows=data, note=note)
