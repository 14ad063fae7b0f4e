"""The figures of the way there: loss, held-out perplexity, coverage, and what became of the papers."""

import numpy as np
from matplotlib.axes import Axes

from pmc_llama.recipe.comparisons import in_order
from pmc_llama.records.training import Metrics
from pmc_llama.report.layout import Column, Row
from pmc_llama.report.run import Run
from pmc_llama.report.svg import ADAPTED, BASE, GENERAL, MUTED, Figure, figure, legend, model_colours
from pmc_llama.results.text import count, decimal, percent

POINTS = 150
"""A curve of more steps is drawn as the means of this many equal stretches."""
LOSS_UNIT = "loss, nats per token"
TITLES = {"train/base": "Base model from scratch", "train/pretrain": "Continued pre-training on the papers"}
Curve = list[tuple[float, float]]


def thinned(curve: Curve) -> Curve:
    """At most POINTS points: means over equal stretches of steps."""
    if len(curve) <= POINTS:
        return curve
    return [(float(part[:, 0].mean()), float(part[:, 1].mean())) for part in np.array_split(np.array(curve), POINTS)]


def pretraining(run: Run) -> list[Figure]:
    """Training and held-out loss of the base from scratch and of continued pre-training."""
    figures = []
    for key, title in TITLES.items():
        trainings = _alike(run, key)
        if trainings:
            curves = {"training": [metrics.loss_curve() for metrics in trainings]}
            for name in trainings[0].heldout_names:
                curves[f"held-out {name}"] = [metrics.heldout_curve(name, "loss") for metrics in trainings]
            figures.append(_curves(f"loss-{key.split('/')[1]}", title, LOSS_UNIT, curves))
    return figures


def _alike(run: Run, key: str) -> list[Metrics]:
    """The metrics of a training and of those with further seeds."""
    return [metrics for name, metrics in run.training.items() if name == key or name.startswith(f"{key}-seed-")]


def tuning(run: Run) -> list[Figure]:
    """Training loss of the tuning runs: one panel per regime in the recipe's order, one line per model and seed."""
    found: dict[tuple[str, str], list[Curve]] = {}
    for key, metrics in run.training.items():
        if key.startswith("tune/"):
            _, regime, model, _ = key.split("/")
            found.setdefault((regime, model), []).append(metrics.loss_curve())
    regimes = dict.fromkeys([*run.regimes, *(regime for regime, _ in found)])
    models = in_order([model for _, model in found])
    curves = {name: {model: found.get((name, model), []) for model in models} for name in regimes}
    tuned = {name: of for name, of in curves.items() if any(of.values())}
    return [_curves(f"loss-tune-{name}", f"Tuning: {name}", LOSS_UNIT, of) for name, of in tuned.items()]


def perplexity(run: Run) -> list[Figure]:
    """Held-out perplexity during continued pre-training, on the papers and on general text."""
    trainings = _alike(run, "train/pretrain")
    if not trainings or not trainings[0].heldout:
        return []
    names = trainings[0].heldout_names
    curves = {name: [metrics.heldout_curve(name, "perplexity") for metrics in trainings] for name in names}
    return [_curves("perplexity", "Held-out perplexity while reading the papers", "perplexity", curves)]


def coverage(run: Run) -> list[Figure]:
    """Share of the distinct tokens seen at least once: of all text and, where several sources were mixed, of each."""
    metrics = run.training.get("train/pretrain")
    seen = metrics.coverage_curves() if metrics else {}
    shares = {name: [[(step, 100 * share) for step, share in curve]] for name, curve in seen.items()}
    return [_curves("coverage", "Share of the text seen", "tokens seen at least once, %", shares)] if shares else []


def forgetting(run: Run) -> list[str]:
    """What continued pre-training did to each held-out set, one sentence each."""
    metrics = run.training.get("train/pretrain")
    texts = {"corpus": "held-out papers", "general": "held-out general text"}
    sentences = []
    for name in metrics.heldout_names if metrics else ():
        measured = metrics.heldout_curve(name, "perplexity") if metrics else []
        if len(measured) > 1:
            first, last = measured[0][1], measured[-1][1]
            direction = "fell" if last < first else "rose"
            change = percent(abs(last / first - 1))
            sentences.append(
                f"On {texts.get(name, name)} the perplexity {direction} from {first:.2f} to {last:.2f}, by {change}."
            )
    return sentences


def general_perplexity(run: Run) -> tuple[float, float] | None:
    """Perplexity on held-out general text before and after continued pre-training, the mean of several.

    None where it was not measured.
    """
    curves = [metrics.heldout_curve("general", "perplexity") for metrics in _alike(run, "train/pretrain")]
    measured = [curve for curve in curves if len(curve) > 1]
    if not measured:
        return None
    return measured[0][0][1], sum(curve[-1][1] for curve in measured) / len(measured)


def _curves(name: str, title: str, unit: str, curves: dict[str, list[Curve]]) -> Figure:
    """One panel; each label may hold several curves (seeds), drawn alike."""
    shown = {label: [thinned(curve) for curve in group if curve] for label, group in curves.items() if any(group)}

    colours = _colours(list(shown))

    def plot(axes: Axes) -> None:
        for label, group in shown.items():
            measured = name == "perplexity" or label.startswith("held-out")
            for i, curve in enumerate(group):
                x, y = zip(*curve, strict=True)
                marker = "o" if measured else None
                axes.plot(x, y, color=colours[label], label=label if i == 0 else None, marker=marker, markersize=3)
        axes.set_xlabel("optimizer step")
        axes.set_ylabel(unit)
        if name == "coverage":
            axes.set_ylim(0, 100)
        if len(shown) > 1:
            legend(axes)

    columns = [Column("curve", "Curve"), Column("step", "Step", count), Column("value", unit.capitalize(), decimal)]
    data = [
        Row({"curve": f"{label}, run {i + 1}" if len(group) > 1 else label, "step": x, "value": y})
        for label, group in shown.items()
        for i, curve in enumerate(group)
        for x, y in curve
    ]
    ends = [f"{label} from {group[0][0][1]:.2f} to {group[0][-1][1]:.2f}" for label, group in shown.items()]
    note = f"Curves of more than {POINTS} steps are shown as means of {POINTS} equal stretches."
    return figure(name, title, plot, alt=f"{title}, {unit}: {', '.join(ends)}", columns=columns, rows=data, note=note)


def _colours(labels: list[str]) -> dict[str, str]:
    """A colour for each curve; a model has the same one as in the other figures, as far as these hold the same."""
    known = {"base": BASE, "training": BASE, "all": BASE, "adapted": ADAPTED, "corpus": ADAPTED, "general": GENERAL}
    others = model_colours([name for name in labels if name.removeprefix("held-out ") not in known])
    return {name: known.get(name.removeprefix("held-out "), others.get(name, MUTED)) for name in labels}
