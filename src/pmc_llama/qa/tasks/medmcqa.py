"""MedMCQA (Pal et al. 2022): JSON lines with four options `opa … opd` and the gold answer's number `cop`.

`cop` counts from 1 in the authors' files and from 0 on the hub. A 4 anywhere proves the first, a 0 the second; a file
that holds both or neither is refused, never guessed.
"""

from pathlib import Path

from pmc_llama.errors import InputError
from pmc_llama.qa.body import lettered_choices
from pmc_llama.qa.question import Question
from pmc_llama.qa.tasks.kind import Kind, Source
from pmc_llama.qa.tasks.reading import Record, checked, read_rows
from pmc_llama.recipe.qa import TaskSection

_OPTIONS = ("opa", "opb", "opc", "opd")


def load(path: Path, section: TaskSection, data_root: Path, split: str) -> list[Question]:
    """Questions of one file, broken down by subject and by `choice_type`."""
    records = read_rows(path)
    answers = [_answer(record) for record in records]
    first = _first_answer(path, answers)
    questions = [_question(record, answer - first) for record, answer in zip(records, answers, strict=True)]
    return checked(records, questions, id_field="id", options="opa")


def _answer(record: Record) -> int:
    if record.values.get("cop", -1) in (-1, "-1", None):
        record.fail("cop", "has no gold answer (MedMCQA's test split is published without; score its dev split)")
    answer = record.integer("cop")
    if not 0 <= answer <= 4:
        record.fail("cop", f"expected 1-4 (the authors' files) or 0-3 (the hub's), found {answer}")
    return answer


def _first_answer(path: Path, answers: list[int]) -> int:
    """1 or 0: what the first option is called in this file."""
    if (0 in answers) == (4 in answers):
        found = "both 0 and 4" if 0 in answers else "neither 0 nor 4"
        raise InputError(
            f"{path}, field 'cop': {found} occur, so it cannot be told whether answers count from 0 or from 1"
        )
    return 0 if 0 in answers else 1


def _question(record: Record, gold: int) -> Question:
    return Question(
        task="",
        question_id=record.text("id"),
        question=record.text("question"),
        options=tuple(record.text(option) for option in _OPTIONS),
        gold=gold,
        subject=record.optional("subject_name"),
        kind=record.optional("choice_type"),
    )


MEDMCQA = Kind(
    load,
    lettered_choices,
    Source(
        repo="openlifescienceai/medmcqa",
        revision="91c6572c454088bf71b679ad90aa8dffcd0d5868",
        license="apache-2.0",
        files={"data/validation-*.parquet": "validation.parquet", "data/train-*.parquet": "train.parquet"},
        test="validation.parquet",
        train="train.parquet",
        questions={"test": 4183, "train": 182822},
    ),
)
