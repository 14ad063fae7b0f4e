"""What a model sees of a task, for a person to read."""

from pathlib import Path
from typing import Any

from pmc_llama.errors import RecipeError
from pmc_llama.qa.encoding import shown_context
from pmc_llama.qa.prompts import render
from pmc_llama.qa.shots import choose_shots, shot_pool
from pmc_llama.qa.tasks import Split, load_questions
from pmc_llama.recipe.qa import TaskSection


def show_questions(
    name: str, section: TaskSection, data_root: Path, *, n: int = 3, split: Split = "test", tokenizer: Any = None
) -> str:
    """The first `n` prompts of a task, whole, and the continuations that are scored after them, the right one marked.

    Test questions stand behind their shots, and prompts for chat models in the chat template of `tokenizer`. Raises
    InputError as `load_questions` does, and RecipeError for such a prompt without a tokenizer, and as `choose_shots`.
    """
    questions = load_questions(name, section, data_root, split)
    head = f"{name}: {len(questions):,} {split} questions, format {section.format}, prompt {section.prompt}"
    count = section.shots if split == "test" else 0  # tuning shows none
    pool = shot_pool(name, section, data_root) if count else []
    shots = choose_shots(questions[:n], pool, count, kind=section.shots_draw)
    parts = [f"{head}, {count} shots" if count else head]
    for question, solved in zip(questions[:n], shots, strict=True):
        prompt = render(section.prompt, question, section.answers, solved)
        if prompt.chat and tokenizer is None:
            raise RecipeError(f"prompt {section.prompt!r} is put into a chat template, and no tokenizer is given")
        about = " · ".join(part for part in (question.question_id, question.subject, question.kind) if part)
        scored = [
            f"{'→' if i == question.gold else ' '} {continuation!r}"
            for i, continuation in enumerate(prompt.continuations)
        ]
        parts.append("\n".join([f"──── {about}", shown_context(tokenizer, prompt), *scored]))
    return "\n\n".join(parts)
