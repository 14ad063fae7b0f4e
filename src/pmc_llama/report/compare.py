"""Two runs side by side: the same questions answered in both, tested in pairs, and what the runs differ in."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from pmc_llama.errors import InputError
from pmc_llama.files import write_text
from pmc_llama.records.results import OverSeeds, fields
from pmc_llama.report.layout import Column, Row, Table, Value
from pmc_llama.report.page import render
from pmc_llama.report.predictions import Cell, cells, read_predictions
from pmc_llama.report.run import Run
from pmc_llama.report.sections import flat
from pmc_llama.report.tables import over_seeds, with_holm
from pmc_llama.report.text import count, listing, p_value, percent, points, signed_interval
from pmc_llama.report.views import MODELS, mean_accuracy

Key = tuple[str, str, str]
"""Model, regime and task."""
NOTE = (
    "Means over the seeds that both runs have, on the same questions; difference: the second run less the first, with "
    "its 95 % interval over questions and seeds; Holm's correction over the tasks of one model and regime."
)


class BothRuns(OverSeeds, kw_only=True):
    """The first run against the second, over seeds, for one model, regime and task."""

    model: str
    regime: str
    task: str


@dataclass(frozen=True)
class Comparison:
    """What two runs share and in what they differ; `only` says what could not be compared, and why."""

    names: tuple[str, str]
    answers: Table
    differences: Table
    only: list[str]

    def markdown(self) -> str:
        """All of it as Markdown."""
        parts = [self.answers.markdown(), self.differences.markdown(), *(f"- {line}" for line in self.only)]
        return "\n".join(parts) + "\n"

    def write(self, page: Path) -> Path:
        """Write it as one self-contained HTML page."""
        write_text(page, render("compare.html", title=f"{self.names[1]} against {self.names[0]}", comparison=self))
        return page


def compare(run_a: Path, run_b: Path) -> Comparison:
    """Compare two run directories cell by cell. Raises InputError if one has no usable predictions."""
    runs = (Run(run_a), Run(run_b))
    names = _names(runs)
    answers_a, answers_b = (_by_key(run) for run in runs)
    rows: list[BothRuns] = []
    only = []
    for key in dict.fromkeys([*answers_a, *answers_b]):
        a, b = answers_a.get(key, {}), answers_b.get(key, {})
        seeds = [seed for seed in a if seed in b]
        where = " · ".join(key)
        if not a or not b:
            only.append(f"{where}: only in {names[0] if a else names[1]}")
        elif not seeds:
            only.append(f"{where}: no seed in common")
        elif any(not _same_questions(a[seed], b[seed]) for seed in seeds):
            only.append(f"{where}: not the same questions, {_asked(a)} and {_asked(b)}")
        else:
            both = over_seeds([(a[seed], b[seed]) for seed in seeds])
            rows.append(BothRuns(model=key[0], regime=key[1], task=key[2], **fields(both)))
    tested = with_holm(rows, family=lambda row: (row.model, row.regime), p=lambda row: row.p)
    table = _answers_table(tested, names)
    return Comparison(names, table, _differences_table(runs, names), only)


def _by_key(run: Run) -> dict[Key, dict[int, Cell]]:
    found: dict[Key, dict[int, Cell]] = {}
    for cell in cells(read_predictions(run.places.predictions)):
        found.setdefault((cell.model, cell.regime, cell.task), {})[cell.seed] = cell
    return found


def _names(runs: tuple[Run, Run]) -> tuple[str, str]:
    """What tells the runs apart: their names, else their folders' names, else their paths."""
    for run in runs:
        if not run.path.is_dir():
            raise InputError(f"{run.path} is not a run directory")
    named = [(run.name, run.path.resolve().name, str(run.path)) for run in runs]
    return next(((a, b) for a, b in zip(*named, strict=True) if a != b), (named[0][2], named[1][2]))


def _same_questions(a: Cell, b: Cell) -> bool:
    return a.question_ids == b.question_ids and a.gold.tolist() == b.gold.tolist()


def _asked(seeds: dict[int, Cell]) -> str:
    return listing([count(number) for number in sorted({len(cell.gold) for cell in seeds.values()})])


def _answers_table(rows: list[BothRuns], names: tuple[str, str]) -> Table:
    columns = [
        Column("model", "Model"),
        Column("regime", "Regime"),
        Column("task", "Task"),
        Column("seeds", "Seeds", count),
        Column("n", "Questions", count),
        Column("base_mean", names[0], percent),
        Column("adapted_mean", names[1], percent),
        Column("delta_mean", "Difference", points, "points"),
        Column("holm_p", "Holm p", p_value),
    ]
    return Table(
        "comparison", "The same questions in both runs", columns, [_answers_row(row) for row in rows], NOTE, True
    )


def _answers_row(row: BothRuns) -> Row:
    means = {f"{model}_mean": mean_accuracy(row, model) for model in MODELS}
    delta = Value(row.delta_mean, points(row.delta_mean), signed_interval(row.ci95))
    key = {"model": row.model, "regime": row.regime, "task": row.task}
    return Row(fields(row) | means | {"delta_mean": delta}, row.model, key)


def _differences_table(runs: tuple[Run, Run], names: tuple[str, str]) -> Table:
    """Settings and versions that differ."""
    a, b = (_settings(run) for run in runs)
    columns = [Column("key", "Setting"), Column("a", names[0]), Column("b", names[1])]
    keys = [key for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key) and key != "recipe.run_dir"]
    rows = [Row({"key": key, "a": a.get(key), "b": b.get(key)}) for key in keys]
    return Table("settings", "In what the runs differ", columns, rows)


def _settings(run: Run) -> dict[str, str]:
    recipe = {} if run.recipe is None else run.recipe.model_dump(mode="json", exclude_none=True)
    return dict(flat({"recipe": recipe, "environment": msgspec.to_builtins(run.environment)}))
