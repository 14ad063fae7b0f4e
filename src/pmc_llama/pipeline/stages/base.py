"""The base model: taken as it is, or trained from scratch on the general corpus."""

from collections.abc import Callable, Mapping

from pmc_llama.pipeline.identity import base_inputs, tokenizer_inputs
from pmc_llama.pipeline.stage import RELATIVE, Context, Stage, Work
from pmc_llama.recipe.inputs import base_model_path
from pmc_llama.records.stamps import store_work
from pmc_llama.run_dir import RunDir


class Base(Stage):
    """Makes sure of the model before."""

    name = "base"
    doing = "making the base model ready"
    needs = ("tokens",)

    def works(self, context: Context) -> list[Work]:
        """One piece: a training run, or a look at what the recipe names."""
        recipe = context.recipe
        if recipe.base.train is None:
            settings = recipe.base.settings("base")
            return [Work(self.name, settings, (), inputs=lambda: base_inputs(recipe), content=_given(context))]
        return [
            Work(
                self.name,
                {"seed": recipe.seed} | recipe.base.settings("base"),
                (RELATIVE.base_model,),
                beside=(RELATIVE.training("base").root,),
                upstream=tuple(store_work(name) for name in _texts(context)),
                inputs=lambda: tokenizer_inputs(recipe, template=False),
                trains=True,
            )
        ]

    def make(self, context: Context, work: Work, out: RunDir) -> str:
        """Train, or say which model is taken."""
        if context.recipe.base.train is None:
            return f"{base_model_path(context.recipe)} is taken as it is"
        from pmc_llama.pipeline.texts import train_base

        return train_base(context, out)


def _texts(context: Context) -> list[str]:
    """The corpora that a base from scratch is trained on."""
    train = context.recipe.base.train
    mixed = None if train is None else train.mixture
    return ["general"] if mixed is None else list(mixed.ratios)


def _given(context: Context) -> Callable[[RunDir], Mapping[str, str]]:
    """A model that is taken as it is stands for itself."""
    return lambda run: {one.name: one.sha256() for one in base_inputs(context.recipe)}
