"""HEAD-QA (Vilares and Gómez-Rodríguez 2019): one JSON object of exams; the right answer's number `ra` is from 1."""

from pathlib import Path
from typing import Any

from pmc_llama.errors import InputError
from pmc_llama.qa.body import Body
from pmc_llama.qa.question import Question
from pmc_llama.qa.tasks.kind import Kind
from pmc_llama.qa.tasks.reading import Record, checked, read_object, read_rows
from pmc_llama.recipe.qa import TaskSection


def load(path: Path, section: TaskSection, data_root: Path, split: str) -> list[Question]:
    """Questions of all exams (or of the hub's rows), broken down by category; `kind` marks those with an image."""
    records = read_rows(path) if path.suffix in (".parquet", ".jsonl") else _exam_records(path)
    questions = [_question(record) for record in records]
    return checked(records, questions, id_field="qid", options="answers")


def _exam_records(path: Path) -> list[Record]:
    exams: Any = read_object(path).get("exams")
    if not isinstance(exams, dict):
        raise InputError(f"{path}, field 'exams': expected an object of exams")
    records = []
    for name, exam in exams.items():
        inside = Record(exam, f"{path}, exam {name!r}")
        data = inside.value("data")
        if not isinstance(data, list):
            inside.fail("data", "expected a list of questions")
        for index, item in enumerate(data):
            record = Record(item, f"{path}, exam {name!r}, question {index}")
            record.values = {**record.values, "name": name, "category": exam.get("category")}
            records.append(record)
    return records


def _question(record: Record) -> Question:
    where = f"{record.where}, field 'answers'"
    raw = record.value("answers")
    if not isinstance(raw, list) or len(raw) < 2:
        record.fail("answers", "expected a list of at least two answers")
    answers = [Record(answer, where) for answer in raw]
    numbers = [answer.integer("aid") for answer in answers]
    right = record.integer("ra")
    if numbers.count(right) != 1:
        record.fail("ra", f"expected one of the answers' numbers {numbers}, found {right}")
    return Question(
        task="",
        question_id=f"{record.text('name')}/{record.text('qid')}",
        question=record.text("qtext"),
        options=tuple(answer.text("atext") for answer in answers),
        gold=numbers.index(right),
        subject=record.optional("category"),
        kind="image" if record.values.get("image") else None,
        group=record.text("name"),
    )


def body(question: Question) -> Body:
    """The question alone: options' texts are scored."""
    return Body(f"Question: {question.question}\nAnswer:", lists_options=False)


HEADQA = Kind(load, body)
