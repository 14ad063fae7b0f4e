"""Test questions found in what models are trained on."""

from pathlib import Path

import msgspec

from pmc_llama.files import read_record


class Example(msgspec.Struct, frozen=True):
    """A question that was found, where, and how."""

    question_id: str
    document_id: str
    """Paper id; of tuning questions and instructions, the question's id or the row's number."""
    kind: str
    """`ngram` (13 words in a row), `question` (a whole shorter question) or `pmid` (its source paper)."""
    text: str


class TaskFound(msgspec.Struct, frozen=True):
    """What was found of one task's test questions in one text."""

    questions: int
    questions_hit: int
    documents_hit: int
    untestable: int
    """Too short to be recognised, and without a PubMed id."""
    question_ids: list[str]
    """Those that were found, sorted."""
    kinds: dict[str, int]
    examples: list[Example]


class Text(msgspec.Struct, frozen=True):
    """One text that models are trained on."""

    kind: str
    """`corpus`, `questions` (a task's training questions) or `instructions` (a regime's rows)."""
    documents: int
    tasks: dict[str, TaskFound]


class Contamination(msgspec.Struct, frozen=True):
    """All texts by name: a corpus' own name, `questions/<task>`, `instructions/<regime>`."""

    texts: dict[str, Text] = {}

    def found(self) -> dict[str, set[str]]:
        """By task, the test questions that stand in any of the texts."""
        ids: dict[str, set[str]] = {}
        for text in self.texts.values():
            for task, facts in text.tasks.items():
                if facts.question_ids:
                    ids.setdefault(task, set()).update(facts.question_ids)
        return ids


def read_contamination(path: Path) -> Contamination:
    """A run's `contamination.json`; none found where there is no such file."""
    return read_record(path, Contamination) if path.is_file() else Contamination()
