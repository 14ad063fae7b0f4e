"""Scoring: each cell's answers to each task are a piece of work of their own, and the table of all is one more."""

from collections.abc import Iterable, Mapping, Sequence

from pmc_llama.code import code_hash
from pmc_llama.experiment.cells import Cell, asked_as, cells, further_pretrainings
from pmc_llama.pipeline.identity import Input, file_inputs
from pmc_llama.pipeline.models import asking_module, chosen_by, further_settings, model_inputs_of, origin_of
from pmc_llama.pipeline.primary import write_primary
from pmc_llama.pipeline.questions import test_reads, test_settings, tested
from pmc_llama.pipeline.stage import RELATIVE, Context, Stage, Work
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.question_sets import question_modules
from pmc_llama.records.stamps import answers_work, pretrain_work, tuning_work


class Evaluate(Stage):
    """Asks the test questions."""

    name = "evaluate"
    doing = "scoring the test questions"
    needs = ("minimed", "base", "pretrain", "merge", "prompts", "finetune")

    def works(self, context: Context) -> list[Work]:
        """One piece per cell and task, and the table of all predictions."""
        recipe = context.recipe
        scored = [_scored(recipe, cell, task) for cell in cells(recipe) for task in tested(recipe)]
        code = code_hash("pmc_llama.experiment.grid", *question_modules())
        outputs = (RELATIVE.predictions, RELATIVE.questions, RELATIVE.models)
        settings = {
            "shown": {name: recipe.tasks[name].settings("score") for name in tested(recipe)},
            "tests": test_settings(recipe),
        }
        table = Work(
            self.name,
            settings,
            outputs,
            upstream=tuple(work.name for work in scored),
            inputs=lambda: file_inputs(recipe, test_reads(recipe)),
            code=code,
        )
        return [*scored, table]

    def run(self, context: Context, todo: Sequence[Work]) -> str:
        """Ask cell by cell, task by task; each model is loaded once."""
        from pmc_llama.experiment.choosing import with_choices
        from pmc_llama.experiment.grid import answerer, describe_models, join_predictions, questions, score_task

        write_primary(context)
        recipe, names = with_choices(context.recipe, context.run), {work.name: work for work in todo}
        tests = {name: questions(recipe, name) for name in tested(recipe)}
        pending = {cell: [task for task in tests if answers_work(cell.name, task) in names] for cell in cells(recipe)}
        pending = {cell: tasks for cell, tasks in pending.items() if tasks}
        for number, (cell, tasks) in enumerate(pending.items(), 1):
            if context.writes:
                print(f"score {number}/{len(pending)} {cell.name}: {', '.join(tasks)}", flush=True)
            model = answerer(recipe, context.run, cell)
            for task in tasks:
                with context.making(names[answers_work(cell.name, task)]) as out:
                    score_task(recipe, cell, task, tests[task], model, out, writes=context.writes)
        table = next(work for work in self.works(context) if work.name == self.name)
        with context.making(table) as out:
            if context.writes:
                files = [context.run.task_predictions(cell.name, task) for cell in cells(recipe) for task in tests]
                join_predictions(recipe, files, origins(context), out)
                describe_models(recipe, context.run, out)
        asked = sum(len(tests[task]) for tasks in pending.values() for task in tasks)
        return f"{len(pending)} models asked {asked:,} questions, {len(cells(recipe)) - len(pending)} were up to date"

    def preview(self, context: Context, reasons: Mapping[str, str | None]) -> Iterable[str]:
        """A line per cell: what would be tuned and asked, and what that costs."""
        from pmc_llama.pipeline.preview import grid_lines

        return grid_lines(context, reasons)


def origins(context: Context) -> dict[str, str]:
    """The hashes of the models and texts that the predictions of a run come from."""
    recipe = context.recipe
    tuned = [tuning_work(cell.name) for cell in cells(recipe) if recipe.regimes[cell.regime].tuned]
    pretrained = [pretrain_work(seed) for seed in further_pretrainings(recipe)]
    tokens = {name: context.stamps.token(name) for name in ("base", *pretrained, *tuned)}
    return {name: token for name, token in tokens.items() if token is not None}


def _scored(recipe: Recipe, cell: Cell, task: str) -> Work:
    regime, section = recipe.regimes[cell.regime], asked_as(recipe, cell.regime, task, cell.model)
    settings: dict[str, object] = {
        "regime": recipe.settings("score")["regimes"][cell.regime],
        "task": section.settings("score"),
        "evaluate": recipe.evaluate.settings("score"),
        **further_settings(recipe, cell.model, "score"),
    }

    def inputs() -> list[Input]:
        named = section.reads("score", f"tasks.{task}")
        named = [read for read in named if section.shots or not read.key.endswith(".train")]
        return file_inputs(recipe, named) + model_inputs_of(recipe, cell.model)

    return Work(
        answers_work(cell.name, task),
        settings,
        (RELATIVE.task_predictions(cell.name, task),),
        beside=(
            RELATIVE.journal(cell.name, task),
            RELATIVE.samples(cell.name, task),
            RELATIVE.asked_model(cell.name, task),
        ),
        upstream=(
            *([tuning_work(cell.name)] if regime.tuned else []),
            *origin_of(recipe, cell.model, cell.pretrain_seed),
            *chosen_by(recipe, cell.model),
        ),
        inputs=inputs,
        code=code_hash(asking_module(recipe, cell.model), *question_modules()),
    )
