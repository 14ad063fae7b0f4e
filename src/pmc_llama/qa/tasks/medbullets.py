"""MedBullets (Chen et al. 2024): questions in the style of USMLE steps 2 and 3, four of their five options."""

from pathlib import Path

from pmc_llama.qa.question import Question
from pmc_llama.qa.tasks.kind import Kind, Source
from pmc_llama.qa.tasks.reading import Record, checked, lettered_options, read_rows
from pmc_llama.recipe.qa import TaskSection


def load(path: Path, section: TaskSection, data_root: Path, split: str) -> list[Question]:
    """Questions of one file; where it has four options, the fifth letter is there without a text."""
    records = read_rows(path)
    questions = [_question(record, f"{split}/{index}") for index, record in enumerate(records)]
    return checked(records, questions, id_field="idx", options="options")


def _question(record: Record, position: str) -> Question:
    labels, options = lettered_options(record, "options")
    gold = record.position("answer", record.value("answer"), labels)
    return Question("", record.optional("idx") or position, record.text("question"), options, gold)


MEDBULLETS = Kind(
    load,
    source=Source(
        repo="mkieffer/Medbullets",
        license="not stated",
        files={"data/op4_test-*.parquet": "test.parquet"},
        test="test.parquet",
    ),
)
