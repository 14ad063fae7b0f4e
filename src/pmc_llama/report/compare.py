"""Runs side by side: the same questions answered in all, tested in pairs, and what the runs differ in."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from pmc_llama.errors import InputError
from pmc_llama.files import write_text
from pmc_llama.records.results import OverSeeds, Side, fields
from pmc_llama.report.layout import Column, Row, Table, Value
from pmc_llama.report.page import render
from pmc_llama.report.run import Run
from pmc_llama.report.sections import flat
from pmc_llama.report.views import mean_accuracy, pair_columns, side_names, training_columns
from pmc_llama.results.comparisons import fit, over_seeds, with_holm
from pmc_llama.results.predictions import Cell, cells, read_predictions
from pmc_llama.results.text import count, listing, p_value, percent, points, signed_interval

Key = tuple[str, str]
"""Regime and task."""
Answers = dict[str, dict[Key, list[Cell]]]
"""By model, then regime and task: a cell a training."""
NOTE = (
    "Means over the seeds that both have, on the same questions; difference: the second less the first, with its 95 % "
    "interval over questions and seeds; Holm's correction over the tasks of one comparison and regime."
)


class Compared(OverSeeds, kw_only=True):
    """The answers of the first run against those of another, over seeds, for one model, regime and task."""

    first: str
    second: str
    model: str
    """The model of the second; with another one of the first, both."""
    regime: str
    task: str


@dataclass(frozen=True)
class Named:
    """A run and what it is called here; `model` is the one that was asked for (None: all)."""

    run: Run
    name: str
    model: str | None
    answers: Answers


@dataclass(frozen=True)
class Comparison:
    """What runs share and in what they differ; `only` says what could not be compared, and why."""

    names: tuple[str, ...]
    answers: Table
    differences: Table
    only: list[str]

    def markdown(self) -> str:
        """All of it as Markdown."""
        parts = [self.answers.markdown(), self.differences.markdown(), *(f"- {line}" for line in self.only)]
        return "\n".join(parts) + "\n"

    def write(self, page: Path) -> Path:
        """Write it as one self-contained HTML page."""
        title = f"{listing(self.names[1:])} against {self.names[0]}"
        write_text(page, render("compare.html", title=title, comparison=self))
        return page


def compare(*places: str | Path) -> Comparison:
    """Compare the first run with each of the others, question by question.

    A place is a run directory, or one with a model as `runs/mine:adapted`: without one each model is compared with its
    namesake, with one it is compared with the first place's model. Raises InputError for fewer than two places, a
    place without usable predictions, or a model that a run does not have.
    """
    if len(places) < 2:
        raise InputError("a comparison takes two runs or more, the first is the one that the others are compared with")
    first, *others = _named(places)
    rows: list[Compared] = []
    only: list[str] = []
    for other in others:
        for one, two in _models(first, other):
            _compare_models((first, one), (other, two), rows, only)
    tested = with_holm(rows, family=lambda row: (row.first, row.second, row.model, row.regime), p=lambda row: row.p)
    named = [first, *others]
    return Comparison(tuple(one.name for one in named), _answers_table(tested, named), _differences_table(named), only)


def _models(first: Named, other: Named) -> list[tuple[str, str]]:
    """Which model of the first is compared with which of the other."""
    if first.model is None and other.model is None:
        return [(model, model) for model in dict.fromkeys([*first.answers, *other.answers])]
    two = other.model or first.model
    assert two is not None
    return [(first.model or two, two)]


def _compare_models(first: tuple[Named, str], other: tuple[Named, str], rows: list[Compared], only: list[str]) -> None:
    (left, one), (right, two) = first, other
    of_left, of_right = left.answers.get(one, {}), right.answers.get(two, {})
    model = one if one == two else f"{one} → {two}"
    for key in dict.fromkeys([*of_left, *of_right]):
        a, b = of_left.get(key, []), of_right.get(key, [])
        both = [(one, two) for one in a for two in b if one.seed == two.seed and fit(one, two)]
        where = " · ".join([model, *key])
        if not a or not b:
            only.append(f"{where}: only in {left.name if a else right.name}")
        elif not both:
            only.append(f"{where}: no seed in common")
        elif any(not _same_questions(*pair) for pair in both):
            only.append(f"{where}: not the same questions, {_asked(a)} and {_asked(b)}")
        else:
            about: dict[str, Any] = {
                "first": left.name,
                "second": right.name,
                "model": model,
                "regime": key[0],
                "task": key[1],
            }
            rows.append(Compared(**about, **fields(over_seeds(both))))


def _named(places: Sequence[str | Path]) -> list[Named]:
    """The runs with what tells them apart: their names, else their folders' names, else their paths; then the model."""
    split = [_split(str(place)) for place in places]
    runs = [Run(path) for path, _ in split]
    for run in runs:
        if not run.path.is_dir():
            raise InputError(f"{run.path} is not a run directory")
    ways = ([run.name for run in runs], [run.path.resolve().name for run in runs], [str(run.path) for run in runs])
    labels = next((one for one in ways if len(set(one)) == len({run.path for run in runs})), ways[-1])
    found = []
    for run, label, (_, model) in zip(runs, labels, split, strict=True):
        answers = _answers(run)
        if model is not None and model not in answers:
            raise InputError(f"{run.path} has no answers of a model {model!r}; it has {', '.join(answers) or 'none'}")
        found.append(Named(run, label if model is None else f"{label}:{model}", model, answers))
    return found


def _split(place: str) -> tuple[Path, str | None]:
    """A run directory and the model behind a colon, if there is one; a folder's own name may hold one."""
    head, colon, model = place.rpartition(":")
    return (Path(place), None) if not colon or Path(place).is_dir() else (Path(head), model)


def _answers(run: Run) -> Answers:
    found: Answers = {}
    for cell in cells(read_predictions(run.places.predictions)):
        found.setdefault(cell.model, {}).setdefault((cell.regime, cell.task), []).append(cell)
    return found


def _same_questions(a: Cell, b: Cell) -> bool:
    return a.question_ids == b.question_ids and a.gold.tolist() == b.gold.tolist()


def _asked(answers: list[Cell]) -> str:
    return listing([count(number) for number in sorted({len(cell.gold) for cell in answers})])


def _answers_table(rows: list[Compared], named: Sequence[Named]) -> Table:
    pairs = [(named[0].name, other.name) for other in named[1:]]
    columns = [
        *pair_columns(pairs),
        Column("model", "Model"),
        Column("regime", "Regime"),
        Column("task", "Task"),
        *training_columns(rows),
        Column("n", "Questions", count),
        *(Column(f"{side}_mean", name, percent) for side, name in side_names(pairs).items()),
        Column("delta_mean", "Difference", points, "points"),
        Column("holm_p", "Holm p", p_value),
    ]
    found = [_answers_row(row) for row in rows]
    return Table("comparison", "The same questions in both runs", columns, found, NOTE, True)


def _answers_row(row: Compared) -> Row:
    sides: tuple[Side, Side] = ("first", "second")
    means = {f"{side}_mean": mean_accuracy(row, side) for side in sides}
    delta = Value(row.delta_mean, points(row.delta_mean), signed_interval(row.ci95))
    key = {"first": row.first, "second": row.second, "model": row.model, "regime": row.regime, "task": row.task}
    return Row(fields(row) | means | {"delta_mean": delta}, row.model, key)


def _differences_table(named: Sequence[Named]) -> Table:
    """Settings and versions that differ."""
    settings = {one.name: _settings(one.run) for one in named}
    columns = [Column("key", "Setting"), *(Column(f"of-{i}", name) for i, name in enumerate(settings))]
    rows = []
    for key in dict.fromkeys(key for of_run in settings.values() for key in of_run):
        values = [of_run.get(key) for of_run in settings.values()]
        if len(set(values)) > 1 and key != "recipe.run_dir":
            rows.append(Row({"key": key} | {f"of-{i}": value for i, value in enumerate(values)}))
    return Table("settings", "In what the runs differ", columns, rows)


def _settings(run: Run) -> dict[str, str]:
    recipe = {} if run.recipe is None else run.recipe.model_dump(mode="json", exclude_none=True)
    return dict(flat({"recipe": recipe, "environment": msgspec.to_builtins(run.environment)}))
