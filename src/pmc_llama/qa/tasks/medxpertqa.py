"""MedXpertQA (Zuo et al. 2025), its text part: ten lettered options, which its questions also hold written out."""

from pathlib import Path

from pmc_llama.qa.question import Question
from pmc_llama.qa.tasks.kind import Kind, Source
from pmc_llama.qa.tasks.reading import Record, checked, lettered_options, read_rows
from pmc_llama.recipe.qa import TaskSection

_WRITTEN_OUT = "Answer Choices:"


def load(path: Path, section: TaskSection, data_root: Path, split: str) -> list[Question]:
    """Questions of one file, broken down by medical task and by what they ask for (reasoning, understanding)."""
    records = read_rows(path)
    return checked(records, [_question(record) for record in records], id_field="id", options="options")


def _question(record: Record) -> Question:
    labels, options = lettered_options(record, "options")
    return Question(
        task="",
        question_id=record.text("id"),
        question=record.text("question").partition(_WRITTEN_OUT)[0].strip(),
        options=options,
        gold=record.position("label", record.value("label"), labels),
        subject=record.optional("medical_task"),
        kind=record.optional("question_type"),
    )


MEDXPERTQA = Kind(
    load,
    source=Source(
        repo="TsinghuaC3I/MedXpertQA",
        revision="7e7c465a68eb2b866926bfa59c8c9d17a8daba65",
        license="mit",
        files={"Text/test.jsonl": "test.jsonl", "Text/dev.jsonl": "dev.jsonl"},
        test="test.jsonl",
        train="dev.jsonl",
        questions={"test": 2450, "train": 5},
    ),
)
