"""Merging: each further model that is a merge of others is a piece of work of its own."""

from pmc_llama.pipeline.identity import Input
from pmc_llama.pipeline.models import model_inputs_of, origin_of
from pmc_llama.pipeline.stage import RELATIVE, Context, Stage, Work
from pmc_llama.recipe import Recipe
from pmc_llama.records.stamps import merge_work
from pmc_llama.run_dir import RunDir


class Merge(Stage):
    """Makes one model out of several."""

    name = "merge"
    doing = "merging models"
    needs = ("base", "pretrain")

    def wanted(self, recipe: Recipe) -> bool:
        """Whether any model is a merge."""
        return bool(_merges(recipe))

    def works(self, context: Context) -> list[Work]:
        """One piece per model."""
        return [_work(context.recipe, name) for name in _merges(context.recipe)]

    def make(self, context: Context, work: Work, out: RunDir) -> str:
        """Merge one."""
        from pmc_llama.experiment.models import merge_models

        name = next(one for one in _merges(context.recipe) if merge_work(one) == work.name)
        if context.writes:
            merge_models(context.recipe, name, out.merged_model(name))
        section = context.recipe.models[name].merge
        assert section is not None
        return f"{name}: {section.method} of {', '.join(section.of)}"


def _merges(recipe: Recipe) -> list[str]:
    return [name for name, section in recipe.models.items() if section.merge is not None]


def _work(recipe: Recipe, name: str) -> Work:
    section = recipe.models[name].merge
    assert section is not None
    parts = section.of

    def inputs() -> list[Input]:
        further = [part for part in parts if part in recipe.models]
        return [
            Input(f"{part}/{one.name}", one.files, one.without)
            for part in further
            for one in model_inputs_of(recipe, part)
        ]

    return Work(
        merge_work(name),
        {"merge": section.settings("score")} | ({"seed": recipe.seed} if section.method == "dare_ties" else {}),
        (RELATIVE.merged_model(name),),
        upstream=tuple(origin for part in parts for origin in origin_of(recipe, part)),
        inputs=inputs,
    )
