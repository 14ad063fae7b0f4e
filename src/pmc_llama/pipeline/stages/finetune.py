"""Tuning: each cell of the grid that tunes is a piece of work of its own."""

from collections.abc import Sequence

from pmc_llama.experiment.cells import Cell, asked_of, tuned_cells
from pmc_llama.pipeline.identity import Input, file_inputs
from pmc_llama.pipeline.models import chosen_by, further_settings, model_inputs_of, origin_of
from pmc_llama.pipeline.stage import RELATIVE, Context, Stage, Work
from pmc_llama.recipe import Recipe
from pmc_llama.records.stamps import tuning_work


class Finetune(Stage):
    """Tunes base, adapted, and the further models that want it in every regime that tunes."""

    name = "finetune"
    doing = "tuning the models"
    needs = ("minimed", "base", "pretrain", "merge", "prompts")

    def works(self, context: Context) -> list[Work]:
        """One piece per cell. A cell of the base model does not depend on pre-training."""
        return [_work(context.recipe, cell) for cell in tuned_cells(context.recipe)]

    def run(self, context: Context, todo: Sequence[Work]) -> str:
        """Tune cell by cell; regimes on the same questions share what was encoded for them."""
        from pmc_llama.experiment.choosing import with_choices
        from pmc_llama.experiment.grid import tune_cell
        from pmc_llama.experiment.tuning import TuningData

        recipe = with_choices(context.recipe, context.run)
        data, named = TuningData(recipe), works_of_cells(recipe)
        for number, work in enumerate(todo, 1):
            cell = named[work.name]
            with context.making(work) as out:
                label = f"tune {number}/{len(todo)} {cell.name}"
                tune_cell(recipe, cell, data, out, label=label, writes=context.writes)
        return f"{len(todo)} models tuned, {len(named) - len(todo)} were up to date"


def works_of_cells(recipe: Recipe) -> dict[str, Cell]:
    """The tuned cells by the names of their work."""
    return {tuning_work(cell.name): cell for cell in tuned_cells(recipe)}


def _work(recipe: Recipe, cell: Cell) -> Work:
    regime, where = recipe.regimes[cell.regime], (cell.regime, cell.weights, cell.seed)
    tasks = {} if regime.files else {name: asked_of(recipe, name, cell.model) for name in regime.tasks}
    settings: dict[str, object] = {
        "seed": cell.seed,
        "regime": regime.settings("tuning"),
        "tasks": {name: task.settings("tuning") for name, task in tasks.items()},
        **further_settings(recipe, cell.model, "tuning"),
    }

    def inputs() -> list[Input]:
        named = regime.reads("tuning", f"regimes.{cell.regime}")
        named += [read for name, task in tasks.items() for read in task.reads("tuning", f"tasks.{name}")]
        return file_inputs(recipe, named) + model_inputs_of(recipe, cell.model)

    return Work(
        tuning_work(cell.name),
        settings,
        (RELATIVE.tuned_model(*where),),
        beside=(RELATIVE.tuning(*where).root, RELATIVE.instructions(*where)),
        upstream=(*origin_of(recipe, cell.model, cell.pretrain_seed), *chosen_by(recipe, cell.model)),
        inputs=inputs,
        trains=True,
    )
