"""MMLU (Hendrycks et al. 2021), medical subjects: a CSV file a subject without header, or the hub's rows."""

from pathlib import Path

from pmc_llama.errors import InputError
from pmc_llama.qa.body import Body, listed
from pmc_llama.qa.question import LETTERS, Question
from pmc_llama.qa.tasks.kind import Kind, Source
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
    """Questions of one file, or of the files `SUBJECT_*.csv` of a folder; ids are `subject/split/position`, from 0.

    Of a file of rows with subjects those that `section.subjects` names, else all.
    """
    if path.suffix in (".parquet", ".jsonl"):
        rows = list(enumerate(read_rows(path)))
        rows = [row for row in rows if not section.subjects or row[1].values.get("subject") in section.subjects]
        records = [record for _, record in rows]
        questions = [_hub_question(record, f"{split}/{index}") for index, record in rows]
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


def body(question: Question) -> Body:
    """The harness' prompt, which names the subject once."""
    return Body(f"{question.question.strip()}\n{listed(question)}Answer:", description=describe(question))


def describe(question: Question) -> str:
    """What stands once before all."""
    subject = (question.subject or "").replace("_", " ")
    return f"The following are multiple choice questions (with answers) about {subject}.\n\n"


_ALL = Source(
    repo="cais/mmlu",
    revision="c30699e8356da336a370243923dbaf21066bb9fe",
    license="mit",
    files={"all/test-*.parquet": "test.parquet", "all/dev-*.parquet": "dev.parquet"},
    test="test.parquet",
    train="dev.parquet",
    questions={"test": 14042, "train": 285},
)
_MEDICAL = _ALL._replace(keys={"subjects": list(MEDICAL_SUBJECTS)}, questions={"test": 1089, "train": 30})
MMLU = Kind(load, body, _MEDICAL, shots_of_subject=True)
MMLU_ALL = Kind(load, body, _ALL, shots_of_subject=True, general=True)
