"""CareQA (Arias-Duart et al. 2025): Spanish exams of health professions, in English; four options, counted from 1."""

from pathlib import Path

from pmc_llama.qa.body import lettered_choices
from pmc_llama.qa.question import Question
from pmc_llama.qa.tasks.kind import Kind, Source
from pmc_llama.qa.tasks.reading import Record, checked, read_rows, say_once
from pmc_llama.recipe.qa import TaskSection

_OPTIONS = ("op1", "op2", "op3", "op4")


def load(path: Path, section: TaskSection, data_root: Path, split: str) -> list[Question]:
    """Questions of one file, broken down by category."""
    rows = read_rows(path)
    records = [record for record in rows if record.optional("question") is not None]
    if len(records) < len(rows):
        say_once(f"{path}: {len(rows) - len(records)} of {len(rows):,} rows have no question, and are left out")
    return checked(records, [_question(record) for record in records], id_field="unique_id", options="op1")


def _question(record: Record) -> Question:
    number = record.integer("cop")
    if not 1 <= number <= len(_OPTIONS):
        record.fail("cop", f"expected 1 to {len(_OPTIONS)}, found {number}")
    return Question(
        task="",
        question_id=record.text("unique_id"),
        question=record.text("question"),
        options=tuple(record.text(option) for option in _OPTIONS),
        gold=number - 1,
        subject=record.optional("category"),
    )


CAREQA = Kind(
    load,
    lettered_choices,
    Source(
        repo="HPAI-BSC/CareQA",
        revision="1d976cc544ccb9dfc96e14439e6840e8a810cec5",
        license="apache-2.0",
        files={"CareQA_en.json": "test.json"},
        test="test.json",
    ),
)
