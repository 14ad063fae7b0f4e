"""The statistics and the page."""

from itertools import chain
from pathlib import Path

from pmc_llama.code import code_hash
from pmc_llama.errors import InputError
from pmc_llama.pipeline.identity import Input
from pmc_llama.pipeline.stage import RELATIVE, Context, Stage, Work
from pmc_llama.pipeline.stages.evaluate import origins
from pmc_llama.release.trained import revisions_of
from pmc_llama.run_dir import RunDir, StoreDir


class Report(Stage):
    """Writes results.json and report.html, from what is on disk alone."""

    name = "report"
    doing = "computing the statistics and writing the page"
    needs = ("corpus", "general", "extra", "contamination", "tokens", "base", "pretrain", "evaluate")

    def works(self, context: Context) -> list[Work]:
        """One piece. It is made again whenever a file that the page shows has another content."""
        recipe, run = context.recipe, context.run
        return [
            Work(
                self.name,
                recipe.settings("report"),
                (RELATIVE.results, RELATIVE.page),
                beside=(RELATIVE.tables,),
                upstream=("evaluate", *(["contamination"] if recipe.tasks else [])),
                inputs=lambda: _shown(run) + _first_input(context),
                code=code_hash("pmc_llama.report.page") + code_hash("pmc_llama.results.table"),
                in_place=True,
            )
        ]

    def make(self, context: Context, work: Work, out: RunDir) -> str:
        """Compute and write."""
        from pmc_llama.report.original import with_original
        from pmc_llama.report.page import build_report
        from pmc_llama.report.run import Run
        from pmc_llama.results.table import compute_results

        if context.writes:
            run, first = Run(out.root), _first_answers(context)
            compute_results(
                out.predictions,
                out.results,
                run.contaminated,
                compared=context.recipe.compared,
                made_from=origins(context),
                primary=run.primary,
                original=with_original(out.predictions, first) if first else (),
            )
            build_report(out.root)
        return "results.json and report.html written"


def _first_answers(context: Context) -> Path | None:
    """The answers of the run that all revisions of this one started from; None where these are gone, or for itself."""
    update = context.recipe.update
    if update is None:
        return None
    try:
        file = RunDir(revisions_of(update.run_path)[-1]).predictions
    except InputError:  # a run between the two is gone
        return None
    return file if file.is_file() else None


def _first_input(context: Context) -> list[Input]:
    first = _first_answers(context)
    return [] if first is None else [Input("the first revision's answers", (str(first),))]


def _shown(run: RunDir) -> list[Input]:
    """The files besides the predictions that the page shows."""
    files = [
        run.contamination_report,
        run.models,
        *run.prompt_choices().values(),
        *chain.from_iterable(run.instruction_files().values()),
    ]
    files += [training.metrics for training in run.trainings().values()]
    for name, corpus in run.corpora().items():
        files += [corpus.summary, corpus.decontamination, StoreDir(run.store(name)).info]
    return [Input(file.relative_to(run.root).as_posix(), (str(file),)) for file in files if file.is_file()]
