"""Choosing a model's prompt: the candidates are tried on questions that are not tested, before anything is scored.

The rule: at most DEV_QUESTIONS questions of each task's training split, drawn with a fixed seed, asked of the untuned
model without shots; the prompt with the highest accuracy is taken, the mean over the tasks; of equal ones the one that
is named first.
"""

import random
from collections.abc import Sequence
from pathlib import Path

from pmc_llama.errors import RecipeError
from pmc_llama.experiment.cells import asked_of
from pmc_llama.files import write_json
from pmc_llama.qa.backends import Backend
from pmc_llama.qa.question import Question
from pmc_llama.qa.tasks import load_questions
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.models import ChooseSection
from pmc_llama.recipe.qa import PromptName, TaskSection
from pmc_llama.records.prompts import PromptChoice, PromptScore, read_choice
from pmc_llama.run_dir import RunDir

DEV_QUESTIONS = 200
SEED = 0


def choosers(recipe: Recipe) -> list[str]:
    """The models whose prompt is to be chosen."""
    return [name for name, section in recipe.models.items() if isinstance(section.prompt, ChooseSection)]


def dev_tasks(recipe: Recipe, model: str) -> dict[str, TaskSection]:
    """The tasks that a prompt is chosen on, as they are asked for it: those that are tested and have a training split.

    Raises RecipeError where there is none.
    """
    both = [name for name, task in recipe.tasks.items() if task.train is not None and task.test is not None]
    if not both:
        raise RecipeError(f"models.{model}.prompt: to choose one takes a task with a training split (`train`)")
    return {name: asked_of(recipe, name, model).model_copy(update={"shots": 0}) for name in both}


def dev_questions(recipe: Recipe, task: str) -> list[Question]:
    """The questions of a task that prompts are tried on."""
    found = load_questions(task, recipe.tasks[task], recipe.data_root, "train")
    return random.Random(SEED).sample(found, min(DEV_QUESTIONS, len(found)))


def choose_prompt(recipe: Recipe, model: str, backend: Backend, out: RunDir, *, writes: bool) -> PromptChoice:
    """Try each prompt and write down the choice; an interrupted call goes on."""
    section = recipe.models[model].prompt
    assert isinstance(section, ChooseSection)
    scores = []
    for task, asked in dev_tasks(recipe, model).items():
        questions = dev_questions(recipe, task)
        for prompt in section.choose:
            journal = out.prompt_journal(model, prompt, task)
            correct = _correct(backend, asked, prompt, questions, journal)
            scores.append(PromptScore(prompt, task, len(questions), correct))
    choice = PromptChoice(best(section.choose, scores), scores)
    if writes:
        write_json(out.prompt_choice(model), choice)
    return choice


def best(prompts: Sequence[str], scores: Sequence[PromptScore]) -> str:
    """The prompt with the highest mean accuracy over tasks, the first of equal ones."""

    def accuracy(prompt: str) -> float:
        shares = [one.correct / one.n for one in scores if one.prompt == prompt]
        return sum(shares) / len(shares)

    return max(prompts, key=accuracy)  # the first of several


def with_choices(recipe: Recipe, run: RunDir) -> Recipe:
    """The recipe with each chosen prompt in the place of its candidates, as far as it was chosen."""
    models = dict(recipe.models)
    for name in choosers(recipe):
        choice = read_choice(run.prompt_choice(name))
        if choice is not None:
            models[name] = models[name].model_copy(update={"prompt": choice.chosen})
    return recipe.model_copy(update={"models": models})


def _correct(
    backend: Backend, asked: TaskSection, prompt: PromptName, questions: Sequence[Question], journal: Path
) -> int:
    answers = backend.answer(asked.model_copy(update={"prompt": prompt}), questions, journal=journal)
    return sum(one.chosen == question.gold for one, question in zip(answers, questions, strict=True))
