"""MedQA-USMLE (Jin et al. 2020): JSON lines with four or five lettered options, or `sent1, ending0 …` (hub)."""

from pathlib import Path

from pmc_llama.qa.question import LETTERS, Question
from pmc_llama.qa.tasks.kind import Kind, Source
from pmc_llama.qa.tasks.reading import Record, checked, read_rows
from pmc_llama.recipe.qa import TaskSection


def load(path: Path, section: TaskSection, data_root: Path, split: str) -> list[Question]:
    """Questions of one file, broken down by exam step; their ids are the split and the position in it, from 0."""
    records = read_rows(path)
    questions = [_question(record, f"{split}/{index}") for index, record in enumerate(records)]
    return checked(records, questions, id_field="id", options="options")


def _question(record: Record, position: str) -> Question:
    question_id = record.optional("id") or position
    if "ending0" in record.values:
        endings = [f"ending{i}" for i in range(len(LETTERS)) if f"ending{i}" in record.values]
        options = tuple(record.text(ending) for ending in endings)
        gold = record.integer("label")
        if not 0 <= gold < len(options):
            record.fail("label", f"expected 0 to {len(options) - 1}, found {gold}")
        return Question("", question_id, record.text("sent1"), options, gold)
    options, gold = _lettered(record)
    return Question("", question_id, record.text("question"), options, gold, subject=record.optional("meta_info"))


def _lettered(record: Record) -> tuple[tuple[str, ...], int]:
    """Options and gold of the native form: a mapping of letters, or the hub's list of {key, value}."""
    raw = record.value("options")
    if isinstance(raw, list) and all(isinstance(one, dict) and {"key", "value"} <= one.keys() for one in raw):
        raw = {one["key"]: one["value"] for one in raw}
    letters = tuple(LETTERS[: len(raw)]) if isinstance(raw, dict) else ()
    if not isinstance(raw, dict) or len(raw) < 2 or tuple(sorted(raw)) != letters:
        record.fail("options", f"expected texts under the letters A, B, C, …, found {raw!r}")
    options = Record(raw, f"{record.where}, field 'options'")
    texts = tuple(options.text(letter) for letter in letters)
    gold = record.position("answer_idx", record.value("answer_idx"), letters)
    answer = record.values.get("answer")
    if answer is not None and answer != texts[gold]:
        record.fail("answer", f"{answer!r} is not option {letters[gold]} ({texts[gold]!r}), which answer_idx names")
    return texts, gold


MEDQA = Kind(
    load,
    source=Source(
        repo="GBaker/MedQA-USMLE-4-options",
        revision="0fb93dd23a7339b6dcd27e241cb9b5eca62d4d18",
        license="cc-by-4.0",
        files={"phrases_no_exclude_test.jsonl": "test.jsonl", "phrases_no_exclude_train.jsonl": "train.jsonl"},
        test="test.jsonl",
        train="train.jsonl",
        questions={"test": 1273, "train": 10178},
    ),
)
