"""A question as one template shows it, without shots; each question set's file says how the harness shows its own."""

import msgspec

from pmc_llama.qa.question import Question


class Body(msgspec.Struct, frozen=True):
    """A question as one template shows it, without shots."""

    text: str
    lists_options: bool = True
    """Whether the options stand in it, so that their letters may be scored."""
    description: str = ""
    """Stands once, before the first shot."""
    lead: str = ""
    """The beginning of the answer."""
    ending: str = ""
    """What follows the right answer."""
    chat: bool = False
    """Whether it is what a user says."""


def listed(question: Question, mark: str = ". ", end: str = "\n") -> str:
    """The options behind their labels."""
    return "".join(f"{label}{mark}{text}{end}" for label, text in zip(question.labels, question.options, strict=True))


def lettered(question: Question) -> Body:
    """The question, its options under letters, and `Answer:`; MedQA's form."""
    return Body(f"Question: {question.question}\n{listed(question)}Answer:")


def lettered_choices(question: Question) -> Body:
    """The same with a heading before the options; MedMCQA's form."""
    return Body(f"Question: {question.question}\nChoices:\n{listed(question)}Answer:")


def bare(question: Question) -> Body:
    """The question alone, behind the text that it is about if there is one; options' texts are scored."""
    abstract = f"Abstract: {question.context}\n" if question.context is not None else ""
    return Body(f"{abstract}Question: {question.question}\nAnswer:", lists_options=False)
