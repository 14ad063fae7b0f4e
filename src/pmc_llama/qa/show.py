"""What a model sees of a task, for a person to read."""

from pathlib import Path

from pmc_llama.qa.prompts import render
from pmc_llama.qa.tasks import Split, load_questions
from pmc_llama.recipe.qa import TaskSection


def show_questions(name: str, section: TaskSection, data_root: Path, *, n: int = 3, split: Split = "test") -> str:
    """The first `n` prompts of a task, and the continuations that are scored after them, the right one marked.

    Raises InputError as `load_questions` does.
    """
    questions = load_questions(name, section, data_root, split)
    head = f"{name}: {len(questions):,} {split} questions, format {section.format}, prompt {section.prompt}"
    parts = [head]
    for question in questions[:n]:
        prompt = render(section.prompt, question, section.answers)
        about = " · ".join(part for part in (question.question_id, question.subject, question.kind) if part)
        scored = [
            f"{'→' if i == question.gold else ' '} {continuation!r}"
            for i, continuation in enumerate(prompt.continuations)
        ]
        parts.append("\n".join([f"──── {about}", prompt.context, *scored]))
    return "\n\n".join(parts)
