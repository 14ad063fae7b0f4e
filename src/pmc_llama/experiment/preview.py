"""What the base model sees of a recipe's task."""

from pmc_llama.errors import RecipeError
from pmc_llama.experiment.cells import asked_as
from pmc_llama.qa.show import show_questions
from pmc_llama.qa.tasks import Split
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.inputs import tokenizer_path
from pmc_llama.tokens.encode import hf_tokenizer


def show_task_of(recipe: Recipe, task: str, regime: str | None = None, *, n: int = 3, split: Split = "test") -> str:
    """The first `n` prompts of a task, as the base model is asked it in `regime` (None: as the task itself says).

    Raises RecipeError for a task or regime that the recipe has not, and as `show_questions` does.
    """
    if task not in recipe.tasks:
        raise RecipeError(f"the recipe has no task {task!r}; its tasks are {', '.join(recipe.tasks)}")
    if regime is not None and regime not in recipe.regimes:
        raise RecipeError(f"the recipe has no regime {regime!r}; its regimes are {', '.join(recipe.regimes)}")
    section = recipe.tasks[task] if regime is None else asked_as(recipe, regime, task)
    tokenizer = hf_tokenizer(tokenizer_path(recipe)) if section.prompt == "chat" else None
    return show_questions(task, section, recipe.data_root, n=n, split=split, tokenizer=tokenizer)
