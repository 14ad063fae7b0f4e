"""Which prompt a model is asked with where its section names several, and what decided it."""

from pathlib import Path

import msgspec

from pmc_llama.files import read_record


class PromptScore(msgspec.Struct, frozen=True):
    """One prompt on one task's development questions."""

    prompt: str
    task: str
    n: int
    correct: int


class PromptChoice(msgspec.Struct, frozen=True):
    """The prompt with the highest accuracy, the mean over tasks; of equal ones the one named first."""

    chosen: str
    scores: list[PromptScore]


def read_choice(path: Path) -> PromptChoice | None:
    """What was chosen for one model; None where nothing was yet."""
    return read_record(path, PromptChoice) if path.is_file() else None
