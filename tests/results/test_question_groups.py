"""A column of the question file that names what questions share reaches every interval and test."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from pmc_llama.errors import InputError
from pmc_llama.experiment.cells import Cell
from pmc_llama.experiment.grid import PREDICTIONS, prediction_row, with_groups, write_table
from pmc_llama.qa.backends import Answer
from pmc_llama.qa.question import Question
from pmc_llama.qa.tasks import load_questions
from pmc_llama.recipe.qa import TaskSection
from pmc_llama.results.table import compute_results
from pmc_llama.stats.seeds import seeds_by_items

DRUGS, SIZE = 20, 5


def task(**columns: str) -> TaskSection:
    named = {"question": "q", "options": "o", "answer": "a"} | columns
    return TaskSection.model_validate({"format": "own", "test": "own.jsonl", "columns": named})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rows = [{"q": f"{i}?", "o": ["x", "y"], "a": "A", "drug": i // SIZE} for i in range(DRUGS * SIZE)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def predictions(root: Path, questions: list[Question]) -> Path:
    """Base and adapted: which drugs a model knows decides all of a drug's questions."""
    rng, rows = np.random.default_rng(1), []
    for model, share in (("base", 0.4), ("adapted", 0.65)):
        knows = rng.random(DRUGS) < share
        for i, question in enumerate(questions):
            answer = Answer(question.question_id, 0 if knows[i // SIZE] else 1, False, False, (-0.2, -1.7), (0.0, 0.0))
            rows.append(prediction_row(Cell("full", model, 0), "own", "in_domain", question, answer))
    file = root / "predictions.parquet"
    write_table(with_groups(pa.Table.from_pylist(rows, PREDICTIONS), {"own": questions}), file)
    return file


def test_questions_of_a_drug_are_one_case_everywhere(root: Path) -> None:
    grouped = load_questions("own", task(group="drug"), root, "test")
    assert grouped[SIZE].group == "1"
    file = predictions(root, grouped)
    with_them = compute_results(file, root / "r.json")
    answers = pl.read_parquet(file).with_columns(right=pl.col("chosen") == pl.col("gold"))
    right = [answers.filter(model=name)["right"].to_numpy() for name in ("base", "adapted")]
    names = answers.filter(model="base")["group"].to_list()
    expected = seeds_by_items(*right, groups=names)
    row, one = with_them.summary[0], with_them.comparisons[0]
    assert (row.ci95, row.p) == (one.ci95, one.mcnemar_p) == (expected.ci95, expected.p)
    alone = compute_results(predictions(root, load_questions("own", task(), root, "test")), root / "r.json")
    assert "group" not in pl.read_parquet(file).columns
    assert alone.summary[0].p < 0.01 < expected.p
    for part, place in (("rows", "ci95"), ("rows", "macro_f1_ci95"), ("rows", "ece_ci95"), ("means", "ci95"),
                        ("summary", "first_ci95"), ("summary", "second_ci95"), ("summary", "ci95")):  # fmt: skip
        wide, narrow = (getattr(getattr(found, part)[0], place) for found in (with_them, alone))
        assert wide[1] - wide[0] > 1.3 * (narrow[1] - narrow[0]), (part, place)
    assert with_them.summary[0].delta_mean == alone.summary[0].delta_mean


def test_a_column_that_is_not_there_is_told(root: Path) -> None:
    with pytest.raises(InputError, match="group_id"):
        load_questions("own", task(group="group_id"), root, "test")


def test_groups_of_one_question_each_are_none(root: Path) -> None:
    questions = [Question("own", str(i), "?", ("x", "y"), 0, group=str(i)) for i in range(4)]
    table = pa.Table.from_pylist([], PREDICTIONS)
    assert with_groups(table, {"own": questions}).column_names == table.column_names
