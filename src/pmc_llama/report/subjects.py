"""Two models within each subject of a task: where a difference comes from, with few questions each."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from pmc_llama.recipe.comparisons import Pair
from pmc_llama.records.results import OverSeeds, Side, fields
from pmc_llama.report.layout import Column, Row, Table, Value
from pmc_llama.report.views import mean_accuracy, pair_columns, side_names
from pmc_llama.results.comparisons import over_seeds, pairs, with_holm
from pmc_llama.results.predictions import cells
from pmc_llama.results.text import count, p_value, percent, points, signed_interval

NOTE = (
    "The verdict's regime, means over seeds; difference in points with its 95 % interval over questions and seeds; "
    "Holm's correction over the subjects of one task and comparison."
)
UNSTATED = "not stated"


class Subject(OverSeeds, kw_only=True):
    """The comparison over seeds of one task and subject."""

    first: str
    second: str
    task: str
    subject: str


def subjects_table(
    predictions: pl.DataFrame | None, questions: pl.DataFrame | None, regime: str | None, compared: Sequence[Pair]
) -> Table:
    """One row a comparison, task and subject, for tasks whose questions name at least two; empty if none does."""
    columns = [
        *pair_columns(compared),
        Column("task", "Task"),
        Column("subject", "Subject"),
        Column("n", "Questions", count),
        *(Column(f"{side}_mean", name, percent) for side, name in side_names(compared).items()),
        Column("delta_mean", "Difference", points),
        Column("holm_p", "Holm p", p_value),
    ]
    found = []
    if predictions is not None and questions is not None and regime is not None:
        found = _rows(predictions, questions, regime, compared)
    rows = [
        _row(row) for row in with_holm(found, family=lambda row: (row.first, row.second, row.task), p=lambda row: row.p)
    ]
    return Table("subjects", "By subject", columns, rows, NOTE, sortable=True)


def _rows(predictions: pl.DataFrame, questions: pl.DataFrame, regime: str, compared: Sequence[Pair]) -> list[Subject]:
    several = pl.col("subject").n_unique().over("task") > 1
    named = questions.select("task", "question_id", pl.col("subject").fill_null(UNSTATED)).filter(several)
    rows = []
    for (task, subject), asked in named.group_by("task", "subject", maintain_order=True):
        mine = predictions.filter(regime=regime, task=task).join(asked, on=["task", "question_id"], how="semi")
        found = list(cells(mine))
        for first, second in compared:
            if seeds := list(pairs(found, (first, second))):
                about: dict[str, Any] = {"first": first, "second": second, "task": str(task), "subject": str(subject)}
                rows.append(Subject(**about, **fields(over_seeds(seeds))))
    return rows


def _row(row: Subject) -> Row:
    sides: tuple[Side, Side] = ("first", "second")
    values = {f"{side}_mean": mean_accuracy(row, side) for side in sides}
    delta = Value(row.delta_mean, points(row.delta_mean), signed_interval(row.ci95))
    about = {"first": row.first, "second": row.second, "task": row.task, "subject": row.subject}
    return Row(fields(row) | values | {"delta_mean": delta}, "", about)
