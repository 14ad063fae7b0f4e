"""The corpora: read, selected, cleaned, deduplicated. Each is a piece of work of its own."""

import os
from collections.abc import Mapping

from pmc_llama.code import code_hash
from pmc_llama.pipeline.identity import Input, corpus_inputs, file_inputs
from pmc_llama.pipeline.questions import probes, test_reads, test_settings
from pmc_llama.pipeline.stage import RELATIVE, Context, Stage, Work
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.registry import modules
from pmc_llama.records.corpus import read_corpus_summary, read_ledgers
from pmc_llama.records.stamps import corpus_work
from pmc_llama.run_dir import RunDir


def worker_count(recipe: Recipe) -> int:
    """Processes for work on CPUs: what the recipe says, else the cores this process may use."""
    if recipe.workers is not None:
        return recipe.workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Corpora(Stage):
    """Builds the corpora that `names` gives."""

    needs = ("minimed",)

    def names(self, recipe: Recipe) -> list[str]:
        """The corpora of this stage."""
        raise NotImplementedError

    def wanted(self, recipe: Recipe) -> bool:
        """Where the recipe has such a corpus."""
        return bool(self.names(recipe))

    def works(self, context: Context) -> list[Work]:
        """One piece per corpus."""
        return [self._work(context, name) for name in self.names(context.recipe)]

    def make(self, context: Context, work: Work, out: RunDir) -> str:
        """Build one corpus, or take it over from the revision before."""
        recipe, name = context.recipe, work.name.removeprefix("extra/")
        asked = probes(recipe) if recipe.corpora[name].decontaminate else []
        totals = context.mode.build(name, out, workers=worker_count(recipe), probes=asked)
        new = totals.appended or totals
        reasons = sorted(new.dropped.items(), key=lambda item: (-item[1], item[0]))
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in reasons)
        return f"{new.documents_in:,} documents in, {new.kept:,} kept; dropped: {dropped or 'none'}"

    def _work(self, context: Context, name: str) -> Work:
        recipe, section, builds = context.recipe, context.recipe.corpora[name], context.mode.builds(name)
        work = corpus_work(name)
        settings: dict[str, object] = {"previous": before} if (before := context.mode.made_from(work)) else {}
        if builds:
            settings |= section.settings("corpus")
        if builds and section.decontaminate:
            settings["tests"] = test_settings(recipe)

        def inputs() -> list[Input]:
            tests = file_inputs(recipe, test_reads(recipe)) if section.decontaminate else []
            return corpus_inputs(section, recipe.data_root) + tests if builds else []

        def content(run: RunDir) -> Mapping[str, str]:
            return {part.file: part.sha256 for part in read_corpus_summary(run.corpus(name).summary).parts}

        def hashes(out: RunDir) -> Mapping[str, str]:
            return {f"{one.source}/{one.file}": one.sha256 for one in read_ledgers(out.corpus(name).ledger)}

        return Work(
            work,
            settings,
            (RELATIVE.corpus(name).root,),
            inputs=inputs,
            code=code_hash("pmc_llama.corpus.build", *modules()),
            content=content,
            input_hashes=hashes,
        )


class General(_Corpora):
    """Text outside the domain."""

    name = "general"
    doing = "building the general corpus"

    def names(self, recipe: Recipe) -> list[str]:
        """`general`, where there is one."""
        return [] if recipe.general is None else ["general"]


class Extra(_Corpora):
    """Further corpora to mix in."""

    name = "extra"
    doing = "building the further corpora"

    def names(self, recipe: Recipe) -> list[str]:
        """Those under `extra`."""
        return list(recipe.extra)


class Corpus(_Corpora):
    """The papers to adapt to."""

    name = "corpus"
    doing = "reading, selecting, cleaning, deduplicating"

    def names(self, recipe: Recipe) -> list[str]:
        """`corpus`."""
        return ["corpus"]
