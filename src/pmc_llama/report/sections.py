"""The parts of the page: which tables, figures and sentences a run gives, and what stands there if it gives none."""

from collections.abc import Callable
from typing import Any

from pmc_llama.report import contamination, corpora, curves, figures, views
from pmc_llama.report.layout import Column, Row, Table
from pmc_llama.report.models import models_section
from pmc_llama.report.published import published_table, real_formats
from pmc_llama.report.run import Run
from pmc_llama.report.section import Section
from pmc_llama.report.subjects import subjects_table
from pmc_llama.results.predictions import cells
from pmc_llama.results.text import count, percent


def results_section(run: Run, regime: str | None) -> Section:
    """The paper's table, the differences and the learning curves."""
    results = run.results
    tables = [
        views.paper_table(results, run.recipe),
        published_table(real_formats(run.recipe)),
        subjects_table(run.predictions, run.questions, regime, results.compared),
        views.differences_table(results),
        views.cells_table(results),
        views.baselines_table(results, run.fixed_options),
    ]
    return Section(
        "results",
        "Results",
        [table for table in tables if table.rows],
        figures.forests(results) + figures.data_efficiency(results, run.regimes),
        missing="No questions were scored in this run, so there are no accuracies to show.",
    )


def calibration_section(run: Run, regime: str | None) -> Section:
    """Reliability plots of the verdict's regime."""
    found = cells(run.predictions) if run.predictions is not None else []
    missing = "No probabilities were recorded, so calibration cannot be shown."
    return Section("calibration", "Calibration", (), figures.reliability(found, regime), missing=missing)


def training_section(run: Run, regime: str | None) -> Section:
    """Loss, forgetting and coverage."""
    shown = curves.pretraining(run) + curves.perplexity(run) + curves.coverage(run)
    tables = [table for table in [instructions_table(run)] if table.rows]
    missing = "Nothing was trained in this run."
    return Section("training", "Training", tables, shown, curves.forgetting(run), missing, curves.tuning(run))


def instructions_table(run: Run) -> Table:
    """What regimes were tuned on: rows by source, why others could not be used, and how many lost their beginning."""
    columns = [
        Column("regime", "Regime"),
        Column("outcome", "Rows"),
        Column("rows", "Number", count),
        Column("share", "Of all", percent),
    ]
    rows = []
    for regime, tally in run.instructions.items():
        sources = sorted(tally.sources.items(), key=lambda one: (-one[1], one[0]))
        parts = [(f"used: {name}", number) for name, number in sources]
        parts += [(f"dropped: {reason.replace('_', ' ')}", number) for reason, number in tally.dropped.items()]
        parts.append(("used, without the beginning of the prompt", tally.truncated))
        rows += [
            Row({"regime": regime, "outcome": name, "rows": number, "share": number / tally.rows})
            for name, number in parts
            if number
        ]
    return Table("instructions", "What was tuned on", columns, rows)


def corpus_section(run: Run, regime: str | None) -> Section:
    """What came in, why papers fell out, where they are from, under which licences, and what cleaning took away."""
    return Section(
        "corpus",
        "Corpus",
        [table for corpus in run.corpora for table in corpora.tables(corpus)],
        [figure for corpus in run.corpora for figure in corpora.figures(corpus)],
        [corpora.corpus_sentence(corpus) for corpus in run.corpora],
        "No corpus was built in this run.",
    )


def contamination_section(run: Run, regime: str | None) -> Section:
    """How many test questions of each task were found in the papers, by what, with examples, and accuracies without."""
    tables = [
        contamination.contamination_table(run.contamination),
        contamination.uncontaminated_table(run.results),
        contamination.examples_table(run.contamination),
    ]
    missing = "Whether the texts that models are trained on hold test questions was not measured in this run."
    shown = [table for table in tables if table.rows]
    return Section("contamination", "Contamination", shown, (), contamination.sentences(run), missing)


SECTIONS: tuple[Callable[[Run, str | None], Section], ...] = (
    results_section,
    models_section,
    calibration_section,
    training_section,
    corpus_section,
    contamination_section,
)
"""The page's parts in their order, made of the run and the verdict's regime. Adding one is its file and a line here."""


def all_sections(run: Run, regime: str | None) -> list[Section]:
    """The page's parts in their order; `regime` is the verdict's."""
    return [section(run, regime) for section in SECTIONS]


def flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """A nested JSON value as (dotted key, text) pairs."""
    if isinstance(value, dict):
        return [pair for key, inner in value.items() for pair in flat(inner, f"{prefix}.{key}" if prefix else key)]
    if isinstance(value, list):
        return [(prefix, ", ".join(str(item) for item in value) or "none")]
    return [(prefix, "–" if value is None else str(value))]
