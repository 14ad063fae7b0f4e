"""Choosing prompts, for the models whose section names several."""

from pmc_llama.code import code_hash
from pmc_llama.experiment.choosing import choosers, dev_tasks
from pmc_llama.pipeline.identity import Input, file_inputs
from pmc_llama.pipeline.models import asking_module, further_settings, model_inputs_of, origin_of
from pmc_llama.pipeline.stage import RELATIVE, Context, Stage, Work
from pmc_llama.recipe import Recipe
from pmc_llama.records.stamps import choice_work
from pmc_llama.run_dir import RunDir


class Prompts(Stage):
    """Tries prompts on training questions."""

    name = "prompts"
    doing = "choosing prompts on training questions"
    needs = ("minimed", "merge")

    def wanted(self, recipe: Recipe) -> bool:
        """Whether any model's prompt is to be chosen."""
        return bool(choosers(recipe))

    def works(self, context: Context) -> list[Work]:
        """One piece per model."""
        return [_work(context.recipe, model) for model in choosers(context.recipe)]

    def make(self, context: Context, work: Work, out: RunDir) -> str:
        """Try the prompts of one model."""
        from pmc_llama.experiment.choosing import choose_prompt
        from pmc_llama.experiment.models import model_of
        from pmc_llama.qa.backends import open_backend

        model = next(name for name in choosers(context.recipe) if choice_work(name) == work.name)
        backend = open_backend(model_of(context.recipe, model))
        choice = choose_prompt(context.recipe, model, backend, out, writes=context.writes)
        return f"{model}: {choice.chosen}"


def _work(recipe: Recipe, model: str) -> Work:
    tasks = dev_tasks(recipe, model)
    settings: dict[str, object] = {
        "tasks": {name: task.settings("tuning") | {"method": task.method} for name, task in tasks.items()},
        "evaluate": recipe.evaluate.settings("score"),
        **further_settings(recipe, model, "score"),
    }

    def inputs() -> list[Input]:
        named = [read for name, task in tasks.items() for read in task.reads("tuning", f"tasks.{name}")]
        return file_inputs(recipe, named) + model_inputs_of(recipe, model)

    return Work(
        choice_work(model),
        settings,
        (RELATIVE.prompt_choice(model),),
        beside=(RELATIVE.prompt_journals(model),),
        upstream=origin_of(recipe, model),
        inputs=inputs,
        code=code_hash(asking_module(recipe, model)),
    )
