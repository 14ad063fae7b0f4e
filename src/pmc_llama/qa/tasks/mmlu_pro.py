"""MMLU-Pro (Wang et al. 2024): three to ten options; its medical categories unless `subjects` names others."""

from pathlib import Path

from pmc_llama.qa.body import Body, listed
from pmc_llama.qa.question import Question
from pmc_llama.qa.tasks.kind import Kind, Source
from pmc_llama.qa.tasks.reading import Record, checked, read_rows
from pmc_llama.recipe.qa import TaskSection

MEDICAL_CATEGORIES = ("biology", "health", "psychology")


def load(path: Path, section: TaskSection, data_root: Path, split: str) -> list[Question]:
    """Questions of these categories, broken down by category; the numbers of their options differ."""
    wanted = section.subjects or MEDICAL_CATEGORIES
    records = [record for record in read_rows(path) if record.text("category") in wanted]
    questions = [_question(record) for record in records]
    return checked(records, questions, id_field="question_id", options="options", same_count=False)


def _question(record: Record) -> Question:
    options = tuple(record.texts("options"))
    gold = record.integer("answer_index")
    if not 0 <= gold < len(options):
        record.fail("answer_index", f"expected 0 to {len(options) - 1}, found {gold}")
    question = record.text("question")
    return Question("", record.text("question_id"), question, options, gold, subject=record.text("category"))


def body(question: Question) -> Body:
    """The harness' way of scoring it (`leaderboard_mmlu_pro`)."""
    return Body(f"{question.question}\n{listed(question)}Answer:")


MMLU_PRO = Kind(
    load,
    body,
    Source(
        repo="TIGER-Lab/MMLU-Pro",
        revision="b189ec765aa7ed75c8acfea42df31fdae71f97be",
        license="mit",
        files={"data/test-*.parquet": "test.parquet", "data/validation-*.parquet": "validation.parquet"},
        test="test.parquet",
        train="validation.parquet",
    ),
    shots_of_subject=True,
)
