"""One multiple-choice question, the same for every data set."""

import msgspec

LETTERS = "ABCDEFGHIJ"


class Question(msgspec.Struct, frozen=True):
    """A question with its options and the index of the right one."""

    task: str
    """The task's name in the recipe."""
    question_id: str
    question: str
    options: tuple[str, ...]
    gold: int
    """Index of the right option, from 0."""
    context: str | None = None
    """Text that the question is about (PubMedQA's abstract)."""
    subject: str | None = None
    """What results are broken down by: subject, exam step, category."""
    kind: str | None = None
    """A second breakdown: MedMCQA's `choice_type`, `image` for HEAD-QA items that need a picture."""
    group: str | None = None
    """What it shares with others (drug, passage, exam): statistics then take groups, not questions, as cases."""
    format: str = ""
    """The data set's format, which prompts are written for."""
    words: bool = False
    """Whether options are answer words themselves (yes, no, maybe), not lettered."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What names the options: letters from A, or the options themselves where they are answer words."""
        return self.options if self.words else tuple(LETTERS[: len(self.options)])
