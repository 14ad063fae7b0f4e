"""BioASQ task B (Tsatsaronis et al. 2015), its yes/no questions over the snippets given with them."""

from pathlib import Path

from pmc_llama.errors import InputError
from pmc_llama.qa.body import bare
from pmc_llama.qa.question import Question
from pmc_llama.qa.tasks.kind import Kind
from pmc_llama.qa.tasks.reading import Record, checked, read_object
from pmc_llama.recipe.qa import TaskSection

LABELS = ("yes", "no")


def load(path: Path, section: TaskSection, data_root: Path, split: str) -> list[Question]:
    """The questions of type `yesno`; those of other types (factoid, list, summary) are no choice among options."""
    items = read_object(path).get("questions")
    if not isinstance(items, list):
        raise InputError(f"{path}, field 'questions': expected a list of questions")
    records = [Record(item, f"{path}, question {i}") for i, item in enumerate(items)]
    asked = [record for record in records if record.text("type") == "yesno"]
    return checked(asked, [_question(record) for record in asked], id_field="id", options="exact_answer")


def _question(record: Record) -> Question:
    answer = record.value("exact_answer")
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    label = answer.strip().lower() if isinstance(answer, str) else answer
    snippets = record.values.get("snippets") or []
    texts = [Record(snippet, f"{record.where}, field 'snippets'").text("text") for snippet in snippets]
    gold = record.position("exact_answer", label, LABELS)
    return Question(
        task="",
        question_id=record.text("id"),
        question=record.text("body"),
        options=LABELS,
        gold=gold,
        context="\n".join(texts) or None,
        subject=LABELS[gold],
        words=True,
    )


BIOASQ = Kind(load, bare)
