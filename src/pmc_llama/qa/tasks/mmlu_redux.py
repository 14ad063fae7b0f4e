"""MMLU-Redux 2.0 (Gema et al. 2025): MMLU's questions that were looked at again and found to be right."""

from pathlib import Path

from pmc_llama.errors import InputError
from pmc_llama.qa.body import Body, listed
from pmc_llama.qa.question import Question
from pmc_llama.qa.tasks.kind import Kind, Source
from pmc_llama.qa.tasks.mmlu import MEDICAL_SUBJECTS, describe
from pmc_llama.qa.tasks.reading import Record, checked, read_rows
from pmc_llama.recipe.qa import TaskSection


def load(path: Path, section: TaskSection, data_root: Path, split: str) -> list[Question]:
    """Questions without an error, of the files `SUBJECT.arrow` of a folder; of the medical ones unless `subjects`."""
    records, questions = [], []
    for subject in dict.fromkeys(section.subjects or MEDICAL_SUBJECTS):
        file = path / f"{subject}.arrow"
        if not file.is_file():
            raise InputError(f"{path}: has no file {subject}.arrow")
        for index, record in enumerate(read_rows(file)):
            if record.text("error_type") == "ok":
                records.append(record)
                questions.append(_question(record, subject, f"{subject}/{split}/{index}"))
    return checked(records, questions, id_field="question", options="choices")


def _question(record: Record, subject: str, question_id: str) -> Question:
    options = tuple(record.texts("choices"))
    gold = record.integer("answer")
    if not 0 <= gold < len(options):
        record.fail("answer", f"expected 0 to {len(options) - 1}, found {gold}")
    return Question("", question_id, record.text("question"), options, gold, subject=subject)


def body(question: Question) -> Body:
    """The harness' prompt (`mmlu_*_generative` of MMLU-Redux)."""
    asked = "Please respond with the correct letter (A, B, C or D) without any additional comments, only the correct "
    text = f"{question.question.strip()}\n{listed(question)}{asked}letter:"
    return Body(text, description=describe(question))


MMLU_REDUX = Kind(
    load,
    body,
    Source(
        repo="edinburgh-dawg/mmlu-redux-2.0",
        license="cc-by-4.0",
        files={"*/data-00000-of-00001.arrow": "test/{}.arrow"},
        test="test",
    ),
)
