"""Continued pre-training on the papers: what makes the adapted model."""

from pmc_llama.pipeline.identity import tokenizer_inputs
from pmc_llama.pipeline.stage import RELATIVE, Context, Stage, Work
from pmc_llama.records.stamps import store_work
from pmc_llama.run_dir import RunDir


class Pretrain(Stage):
    """Trains the adapted model."""

    name = "pretrain"
    doing = "continued pre-training on the papers"
    needs = ("base", "tokens")

    def works(self, context: Context) -> list[Work]:
        """One piece. It reads the stores that it is trained on; the others only measure."""
        recipe, mixed = context.recipe, context.recipe.pretrain.mixture
        settings: dict[str, object] = {"previous": before} if (before := context.mode.made_from(self.name)) else {}
        if recipe.update is not None:
            settings["update"] = recipe.update.settings("pretrain")
        texts = ["corpus"] if mixed is None else list(mixed.ratios)
        return [
            Work(
                self.name,
                settings | {"seed": recipe.seed} | recipe.pretrain.settings("pretrain"),
                (RELATIVE.adapted_model,),
                beside=(RELATIVE.training("pretrain").root,),
                upstream=("base", *(store_work(name) for name in texts)),
                inputs=lambda: tokenizer_inputs(recipe, template=False),
                trains=True,
            )
        ]

    def make(self, context: Context, work: Work, out: RunDir) -> str:
        """Train, going on from the newest checkpoint."""
        from pmc_llama.pipeline.texts import continue_pretraining

        return continue_pretraining(context, out)
