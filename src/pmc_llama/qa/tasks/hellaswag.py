"""HellaSwag (Zellers et al. 2019): which of four endings goes on with what was told."""

import re
from pathlib import Path

from pmc_llama.qa.body import Body
from pmc_llama.qa.question import Question
from pmc_llama.qa.tasks.kind import Kind, Source
from pmc_llama.qa.tasks.reading import Record, checked, read_rows
from pmc_llama.recipe.qa import TaskSection

_MARKS = re.compile(r"\[.*?\]")


def load(path: Path, section: TaskSection, data_root: Path, split: str) -> list[Question]:
    """Stories of one file, broken down by where they are from; ids are the split and the position in it, from 0."""
    records = read_rows(path)
    questions = [_question(record, f"{split}/{index}") for index, record in enumerate(records)]
    return checked(records, questions, id_field="ind", options="endings")


def _question(record: Record, question_id: str) -> Question:
    beginning = str(record.value("ctx_a")) + " " + str(record.value("ctx_b")).capitalize()
    options = tuple(_tidy(ending) for ending in record.texts("endings"))
    gold = record.integer("label")
    if not 0 <= gold < len(options):
        record.fail("label", f"expected 0 to {len(options) - 1}, found {gold}")
    source = (record.optional("source_id") or "").partition("~")[0] or None
    told = _tidy(f"{record.text('activity_label')}: {beginning}")
    return Question("", question_id, told, options, gold, subject=source)


def _tidy(text: str) -> str:
    """Without the marks that are left of the articles, as the harness takes them away."""
    return _MARKS.sub("", text.strip().replace(" [title]", ". ")).replace("  ", " ")


def body(question: Question) -> Body:
    """What was told, alone."""
    return Body(question.question, lists_options=False)


HELLASWAG = Kind(
    load,
    body,
    Source(
        repo="Rowan/hellaswag",
        revision="218ec52e09a7e7462a5400043bb9a69a41d06b76",
        license="mit",
        files={"data/validation-*.parquet": "validation.parquet", "data/train-*.parquet": "train.parquet"},
        test="validation.parquet",
        train="train.parquet",
        questions={"test": 10042, "train": 39905},
    ),
    general=True,
)
