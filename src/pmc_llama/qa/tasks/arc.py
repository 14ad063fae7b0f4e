"""ARC (Clark et al. 2018): science questions of schools, three to five options under letters or numbers."""

from pathlib import Path

from pmc_llama.qa.body import bare
from pmc_llama.qa.question import Question
from pmc_llama.qa.tasks.kind import Kind, Source
from pmc_llama.qa.tasks.reading import Record, checked, read_rows
from pmc_llama.recipe.qa import TaskSection


def load(path: Path, section: TaskSection, data_root: Path, split: str) -> list[Question]:
    """Questions of one file; the numbers of their options differ."""
    records = read_rows(path)
    questions = [_question(record) for record in records]
    return checked(records, questions, id_field="id", options="choices", same_count=False)


def _question(record: Record) -> Question:
    choices = Record(record.value("choices"), f"{record.where}, field 'choices'")
    gold = record.position("answerKey", record.value("answerKey"), tuple(choices.texts("label")))
    return Question("", record.text("id"), record.text("question"), tuple(choices.texts("text")), gold)


def _source(part: str, test: int, train: int) -> Source:
    return Source(
        repo="allenai/ai2_arc",
        revision="210d026faf9955653af8916fad021475a3f00453",
        license="cc-by-sa-4.0",
        files={f"{part}/{split}-*.parquet": f"{split}.parquet" for split in ("test", "train")},
        test="test.parquet",
        train="train.parquet",
        questions={"test": test, "train": train},
    )


ARC_CHALLENGE = Kind(load, bare, _source("ARC-Challenge", 1172, 1119), general=True)
ARC_EASY = Kind(load, bare, _source("ARC-Easy", 2376, 2251), general=True)
