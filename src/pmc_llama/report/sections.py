"""The parts of the page: which tables, figures and sentences a run gives, and what stands there if it gives none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pmc_llama.report import curves, figures, views
from pmc_llama.report.layout import Column, Row, Table
from pmc_llama.report.predictions import cells
from pmc_llama.report.published import published_table, real_formats
from pmc_llama.report.run import Corpus, Run
from pmc_llama.report.svg import Figure
from pmc_llama.report.text import count, decimal, percent, short


@dataclass(frozen=True)
class Section:
    """One part of the page: `missing` is the sentence that stands there where the run has nothing to show."""

    name: str
    title: str
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    sentences: Sequence[str] = ()
    missing: str = ""
    more_figures: Sequence[Figure] = ()
    """Figures that are folded away."""

    @property
    def empty(self) -> bool:
        """Whether the run has nothing to show here."""
        return not (self.tables or self.figures or self.sentences or self.more_figures)


def all_sections(run: Run, regime: str | None) -> list[Section]:
    """The page's parts in their order; `regime` is the verdict's."""
    return [
        results_section(run),
        calibration_section(run, regime),
        training_section(run),
        corpus_section(run),
        contamination_section(run),
    ]


def results_section(run: Run) -> Section:
    """The paper's table, the differences and the learning curves."""
    results = run.results
    tables = [
        views.paper_table(results, run.recipe),
        published_table(real_formats(run.recipe)),
        views.differences_table(results),
        views.cells_table(results),
        views.baselines_table(results, run.fixed_options),
    ]
    return Section(
        "results",
        "Results",
        [table for table in tables if table.rows],
        figures.forest(results) + figures.data_efficiency(results, run.recipe),
        missing="No questions were scored in this run, so there are no accuracies to show.",
    )


def calibration_section(run: Run, regime: str | None) -> Section:
    """Reliability plots of the verdict's regime."""
    found = cells(run.predictions) if run.predictions is not None else []
    missing = "No probabilities were recorded, so calibration cannot be shown."
    return Section("calibration", "Calibration", (), figures.reliability(found, regime), missing=missing)


def training_section(run: Run) -> Section:
    """Loss, forgetting and coverage."""
    shown = curves.pretraining(run) + curves.perplexity(run) + curves.coverage(run)
    missing = "Nothing was trained in this run."
    return Section("training", "Training", (), shown, curves.forgetting(run), missing, curves.tuning(run))


def corpus_section(run: Run) -> Section:
    """What came in, why papers fell out, where they are from, under which licences, and what cleaning took away."""
    funnels = [shown for shown in map(curves.funnel, run.corpora) if shown]
    tables = [make(corpus) for corpus in run.corpora for make in (sources_table, licenses_table, cleaning_table)]
    sentences = [corpus_sentence(corpus) for corpus in run.corpora]
    shown = [table for table in tables if table.rows]
    return Section("corpus", "Corpus", shown, funnels, sentences, "No corpus was built in this run.")


def corpus_sentence(corpus: Corpus) -> str:
    """The corpus in one sentence: papers, characters, tokens, years."""
    totals = corpus.totals
    parts = [f"{count(totals.get('kept', 0))} of {count(totals.get('in', 0))} papers kept"]
    if "chars" in totals:
        parts.append(f"{short(totals['chars'])} characters")
    if "tokens" in corpus.store:
        parts.append(f"{short(corpus.store['tokens'])} tokens")
    if corpus.years:
        parts.append(f"published {corpus.years[0]} to {corpus.years[1]}")
    return f"{corpus.name.capitalize()}: {', '.join(parts)}."


def sources_table(corpus: Corpus) -> Table:
    """Papers in and kept by source, with the reasons of the others."""
    columns = [
        Column("source", "Source"),
        Column("in", "In", count),
        Column("kept", "Kept", count),
        Column("dropped", "Dropped, by reason"),
    ]
    rows = []
    for name, one in corpus.totals.get("sources", {}).items():
        reasons = [f"{key.replace('_', ' ')} {count(number)}" for key, number in sorted(one.get("dropped", {}).items())]
        rows.append(Row(one | {"source": name, "dropped": ", ".join(reasons) or "none"}))
    return Table(f"sources-{corpus.name}", f"Sources of {corpus.name}", columns, rows)


def licenses_table(corpus: Corpus) -> Table:
    """Kept papers by licence."""
    columns = [Column("license", "Licence"), Column("papers", "Papers", count), Column("share", "Share", percent)]
    total = sum(number for _, number in corpus.licenses)
    rows = [Row({"license": name, "papers": number, "share": number / total}) for name, number in corpus.licenses]
    return Table(f"licences-{corpus.name}", f"Licences of {corpus.name}", columns, rows)


def cleaning_table(corpus: Corpus) -> Table:
    """Characters that each cleaning rule took away from the kept papers."""
    columns = [Column("rule", "Cleaning rule"), Column("chars", "Characters removed", count)]
    removed = sorted(corpus.totals.get("chars_removed", {}).items(), key=lambda item: -item[1])
    rows = [Row({"rule": rule.replace("_", " "), "chars": number}) for rule, number in removed]
    return Table(f"cleaning-{corpus.name}", f"Cleaning of {corpus.name}", columns, rows)


def contamination_section(run: Run) -> Section:
    """What of each evaluation set was found in the corpus: the counts of `contamination.json`, and its examples."""
    value = run.contamination
    tasks = {task: facts for task, facts in value.get("tasks", value).items() if isinstance(facts, dict)}
    numbers = {task: {key: fact for key, fact in facts.items() if _is_number(fact)} for task, facts in tasks.items()}
    keys = dict.fromkeys(key for facts in numbers.values() for key in facts)
    columns = [Column("task", "Task"), *(Column(key, _label(key), _count_or_share) for key in keys)]
    tables = [
        Table("contamination", "Overlap by task", columns, [Row({"task": task, **numbers[task]}) for task in tasks])
    ]
    for task, facts in tasks.items():
        examples = [one if isinstance(one, dict) else {"text": one} for one in facts.get("examples", [])]
        columns = [Column(key, _label(key)) for key in dict.fromkeys(key for one in examples for key in one)]
        tables.append(Table(f"contamination-{task}", f"Examples from {task}", columns, [Row(one) for one in examples]))
    missing = "Whether the corpus holds any of the test questions was not measured in this run."
    return Section("contamination", "Contamination", [table for table in tables if table.rows], missing=missing)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _label(key: str) -> str:
    return key.replace("_", " ").capitalize()


def _count_or_share(number: float) -> str:
    return count(number) if isinstance(number, int) else decimal(number)


def flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """A nested JSON value as (dotted key, text) pairs."""
    if isinstance(value, dict):
        return [pair for key, inner in value.items() for pair in flat(inner, f"{prefix}.{key}" if prefix else key)]
    if isinstance(value, list):
        return [(prefix, ", ".join(str(item) for item in value) or "none")]
    return [(prefix, "–" if value is None else str(value))]
