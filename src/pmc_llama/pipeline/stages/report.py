"""The statistics and the page."""

from pmc_llama.code import code_hash
from pmc_llama.pipeline.identity import Input
from pmc_llama.pipeline.stage import RELATIVE, Context, Stage, Work
from pmc_llama.pipeline.stages.evaluate import origins
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
                inputs=lambda: _shown(run),
                code=code_hash("pmc_llama.report.page"),
                in_place=True,
            )
        ]

    def make(self, context: Context, work: Work, out: RunDir) -> str:
        """Compute and write."""
        from pmc_llama.report.page import build_report
        from pmc_llama.report.run import Run
        from pmc_llama.report.tables import compute_results

        if context.writes:
            run = Run(out.root)
            compute_results(
                out.predictions, out.results, run.contaminated, made_from=origins(context), primary=run.primary
            )
            build_report(out.root)
        return "results.json and report.html written"


def _shown(run: RunDir) -> list[Input]:
    """The files besides the predictions that the page shows."""
    files = [run.contamination_report, *run.instruction_files().values()]
    files += [training.metrics for training in run.trainings().values()]
    for name, corpus in run.corpora().items():
        files += [corpus.summary, corpus.decontamination, StoreDir(run.store(name)).info]
    return [Input(file.relative_to(run.root).as_posix(), (str(file),)) for file in files if file.is_file()]
