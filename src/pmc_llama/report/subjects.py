"""Base against adapted within each subject of a task: where a difference comes from, with few questions each."""

import polars as pl

from pmc_llama.records.results import OverSeeds, fields
from pmc_llama.report.layout import Column, Row, Table, Value
from pmc_llama.report.predictions import Cell, cells
from pmc_llama.report.tables import over_seeds, pairs, with_holm
from pmc_llama.report.text import count, p_value, percent, points, signed_interval
from pmc_llama.report.views import MODELS, mean_accuracy

NOTE = (
    "The verdict's regime, means over seeds; difference in points with its 95 % interval over questions and seeds; "
    "Holm's correction over the subjects of one task."
)
UNSTATED = "not stated"


class Subject(OverSeeds, kw_only=True):
    """The comparison over seeds of one task and subject."""

    task: str
    subject: str


def subjects_table(predictions: pl.DataFrame | None, questions: pl.DataFrame | None, regime: str | None) -> Table:
    """One row a task and subject, for tasks whose questions name at least two; empty if none does."""
    columns = [
        Column("task", "Task"),
        Column("subject", "Subject"),
        Column("n", "Questions", count),
        *(Column(f"{model}_mean", model.capitalize(), percent) for model in MODELS),
        Column("delta_mean", "Difference", points),
        Column("holm_p", "Holm p", p_value),
    ]
    found = []
    if predictions is not None and questions is not None and regime is not None:
        found = _rows(predictions, questions, regime)
    rows = [_row(row) for row in with_holm(found, family=lambda row: row.task, p=lambda row: row.p)]
    return Table("subjects", "By subject", columns, rows, NOTE, sortable=True)


def _rows(predictions: pl.DataFrame, questions: pl.DataFrame, regime: str) -> list[Subject]:
    several = pl.col("subject").n_unique().over("task") > 1
    named = questions.select("task", "question_id", pl.col("subject").fill_null(UNSTATED)).filter(several)
    rows = []
    for (task, subject), asked in named.group_by("task", "subject", maintain_order=True):
        mine = predictions.filter(regime=regime, task=task).join(asked, on=["task", "question_id"], how="semi")
        seeds: list[tuple[Cell, Cell]] = list(pairs(list(cells(mine))))
        if seeds:
            rows.append(Subject(task=str(task), subject=str(subject), **fields(over_seeds(seeds))))
    return rows


def _row(row: Subject) -> Row:
    values = {f"{model}_mean": mean_accuracy(row, model) for model in MODELS}
    delta = Value(row.delta_mean, points(row.delta_mean), signed_interval(row.ci95))
    return Row(fields(row) | values | {"delta_mean": delta}, "", {"task": row.task, "subject": row.subject})
