"""Test questions are looked for in everything that a model is trained on: corpora, tuning questions, instructions."""

from pmc_llama.code import code_hash
from pmc_llama.files import link_tree, write_json
from pmc_llama.pipeline.identity import Input, file_inputs
from pmc_llama.pipeline.questions import (
    instructed,
    probes,
    test_reads,
    test_settings,
    tested,
    training_texts,
    tuned_on,
)
from pmc_llama.pipeline.stage import RELATIVE, Context, Stage, Work
from pmc_llama.pipeline.stages.corpora import worker_count
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.inputs import input_files
from pmc_llama.records.contamination import Contamination as Report
from pmc_llama.records.contamination import Text
from pmc_llama.records.stamps import corpus_work
from pmc_llama.run_dir import RunDir


class Contamination(Stage):
    """Measures; it drops nothing. A new test set makes this work again, and what reads it."""

    name = "contamination"
    doing = "looking for test questions in what models are trained on"
    needs = ("minimed", "corpus", "general", "extra")

    def wanted(self, recipe: Recipe) -> bool:
        """Where there are test questions."""
        return bool(tested(recipe))

    def works(self, context: Context) -> list[Work]:
        """One piece."""
        recipe = context.recipe
        tasks, regimes = tuned_on(recipe), instructed(recipe)
        settings: dict[str, object] = {
            "tests": test_settings(recipe),
            "questions": {name: recipe.tasks[name].settings("contamination") for name in tasks},
            "instructions": regimes,
        }

        def inputs() -> list[Input]:
            named = test_reads(recipe)
            named += [one for name in tasks for one in recipe.tasks[name].reads("contamination", f"tasks.{name}")]
            named += [one for name in regimes for one in recipe.regimes[name].reads("contamination", f"regimes.{name}")]
            return file_inputs(recipe, named)

        return [
            Work(
                self.name,
                settings,
                (RELATIVE.contamination_report,),
                beside=(RELATIVE.contamination_cache,),
                upstream=tuple(corpus_work(name) for name in recipe.corpora),
                inputs=inputs,
                code=code_hash("pmc_llama.corpus.contamination"),
            )
        ]

    def make(self, context: Context, work: Work, out: RunDir) -> str:
        """Measure all texts, and write the report."""
        from pmc_llama.corpus.contamination import measure_corpus, measure_texts
        from pmc_llama.experiment.instructions import read_instructions

        recipe, asked = context.recipe, probes(context.recipe)
        context.mode.start_contamination(out)
        if context.run.contamination_cache.is_dir():
            link_tree(context.run.contamination_cache, out.contamination_cache)
        texts: dict[str, Text] = {
            name: measure_corpus(
                section, context.run.corpus(name).root, asked, out.contamination_cache, workers=worker_count(recipe)
            )
            for name, section in recipe.corpora.items()
        }
        for name in tuned_on(recipe):
            texts[f"questions/{name}"] = measure_texts("questions", training_texts(recipe, name), asked)
        for name in instructed(recipe):
            rows, _ = read_instructions(input_files(recipe.data_root, recipe.regimes[name].files))
            numbered = ((str(number), f"{row.prompt}\n{row.output}") for number, row in enumerate(rows, 1))
            texts[f"instructions/{name}"] = measure_texts("instructions", numbered, asked)
        report = Report(texts)
        write_json(out.contamination_report, report)
        found = {task: len(ids) for task, ids in report.found().items()}
        hits = ", ".join(f"{count:,} of {task}" for task, count in found.items())
        return f"{len(asked):,} test questions looked for in {len(texts)} texts; found: {hits or 'none'}"
