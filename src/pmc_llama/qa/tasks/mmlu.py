"""MMLU (Hendrycks et al. 2021), medical subjects: a CSV file a subject without header, or the hub's rows."""

from pathlib import Path

from pmc_llama.errors import InputError
from pmc_llama.qa.question import LETTERS, Question
from pmc_llama.qa.tasks.reading import Record, checked, read_csv, read_rows
from pmc_llama.recipe.qa import TaskSection

MEDICAL_SUBJECTS = (
    "anatomy",
    "clinical_knowledge",
    "college_biology",
    "college_medicine",
    "medical_genetics",
    "professional_medicine",
)
"""The six of MultiMedQA; Meditron adds virology, high_school_biology and nutrition (give them as `subjects`)."""
_OPTIONS = ("choice0", "choice1", "choice2", "choice3")
_COLUMNS = ("question", *_OPTIONS, "answer")


def load(path: Path, section: TaskSection, data_root: Path, split: str) -> list[Question]:
    """Questions of one file, or of the files `SUBJECT_*.csv` of a folder; ids are `subject/split/position`, from 0."""
    if path.suffix in (".parquet", ".jsonl"):
        records = read_rows(path)
        questions = [_hub_question(record, f"{split}/{index}") for index, record in enumerate(records)]
        return checked(records, questions, id_field="subject", options="choices")
    if path.is_file():
        return _subject(path, path.stem.rsplit("_", 1)[0], split)
    questions = []
    for subject in dict.fromkeys(section.subjects or MEDICAL_SUBJECTS):
        files = sorted(path.glob(f"{subject}_*.csv"))
        if len(files) != 1:
            raise InputError(f"{path}: expected one file {subject}_*.csv, found {len(files)}")
        questions += _subject(files[0], subject, split)
    return questions


def _subject(path: Path, subject: str, split: str) -> list[Question]:
    questions: list[Question] = []
    for line, row in read_csv(path):
        if line == 1 and tuple(row) == _COLUMNS:
            continue
        if len(row) != len(_COLUMNS):
            raise InputError(f"{path}, line {line}: expected 6 columns (question, 4 options, answer), found {len(row)}")
        record = Record(dict(zip(_COLUMNS, row, strict=True)), f"{path}, line {line}")
        labels = tuple(LETTERS[:4])
        answer = row[5] if row[5] not in tuple("0123") else labels[int(row[5])]
        gold = record.position("answer", answer, labels)
        options = tuple(record.text(option) for option in _OPTIONS)
        question_id = f"{subject}/{split}/{len(questions)}"
        questions.append(Question("", question_id, record.text("question"), options, gold, subject=subject))
    return questions


def _hub_question(record: Record, position: str) -> Question:
    options = tuple(record.texts("choices"))
    gold = record.integer("answer")
    if not 0 <= gold < len(options):
        record.fail("answer", f"expected 0 to {len(options) - 1}, found {gold}")
    subject = record.text("subject")
    return Question("", f"{subject}/{position}", record.text("question"), options, gold, subject=subject)
