"""Continued pre-training on the papers: what makes the adapted model, or one per seed."""

from pmc_llama.experiment.cells import further_pretrainings
from pmc_llama.pipeline.identity import tokenizer_inputs
from pmc_llama.pipeline.stage import RELATIVE, Context, Stage, Work
from pmc_llama.records.stamps import pretrain_work, store_work
from pmc_llama.run_dir import RunDir, pretraining_label


class Pretrain(Stage):
    """Trains the adapted models."""

    name = "pretrain"
    doing = "continued pre-training on the papers"
    needs = ("base", "tokens")

    def works(self, context: Context) -> list[Work]:
        """One piece per seed. Each reads the stores that it is trained on; the others only measure."""
        return [_work(context, seed) for seed in further_pretrainings(context.recipe)]

    def make(self, context: Context, work: Work, out: RunDir) -> str:
        """Train, going on from the newest checkpoint."""
        from pmc_llama.pipeline.texts import continue_pretraining

        further = {pretrain_work(seed): seed for seed in further_pretrainings(context.recipe)}[work.name]
        return continue_pretraining(context, out, further)


def _work(context: Context, further: int | None) -> Work:
    recipe, mixed = context.recipe, context.recipe.pretrain.mixture
    settings: dict[str, object] = {"previous": before} if (before := context.mode.made_from("pretrain")) else {}
    if recipe.update is not None:
        settings["update"] = recipe.update.settings("pretrain")
    settings["seed"] = recipe.pretrain_seeds[0] if further is None else further
    settings |= recipe.pretrain.settings("pretrain")
    settings.pop("seeds", None)  # how many models there are decides nothing in one of them
    texts = ["corpus"] if mixed is None else list(mixed.ratios)
    return Work(
        pretrain_work(further),
        settings,
        (RELATIVE.adapted_model_of(further),),
        beside=(RELATIVE.training(pretraining_label(further)).root,),
        upstream=("base", *(store_work(name) for name in texts)),
        inputs=lambda: tokenizer_inputs(recipe, template=False),
        trains=True,
    )
