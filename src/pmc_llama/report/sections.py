"""The parts of the page: which tables, figures and sentences a run gives, and what stands there if it gives none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pmc_llama.report import curves, figures, views
from pmc_llama.report.layout import Column, Row, Table
from pmc_llama.report.predictions import cells
from pmc_llama.report.published import published_table, real_formats
from pmc_llama.report.run import Corpus, Run
from pmc_llama.report.subjects import subjects_table
from pmc_llama.report.svg import Figure
from pmc_llama.report.text import count, percent, plural, short


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
        results_section(run, regime),
        calibration_section(run, regime),
        training_section(run),
        corpus_section(run),
        contamination_section(run),
    ]


def results_section(run: Run, regime: str | None) -> Section:
    """The paper's table, the differences and the learning curves."""
    results = run.results
    tables = [
        views.paper_table(results, run.recipe),
        published_table(real_formats(run.recipe)),
        subjects_table(run.predictions, run.questions, regime),
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
    rows = [Row({"rule": rule.replace("_", " "), "chars": number}) for rule, number in removed if number]
    return Table(f"cleaning-{corpus.name}", f"Cleaning of {corpus.name}", columns, rows, "Below zero: added.")


def contamination_section(run: Run) -> Section:
    """How many test questions of each task were found in the papers, by what, with examples."""
    found = run.contamination
    columns = [
        Column("task", "Task"),
        Column("questions", "Questions", count),
        Column("questions_hit", "Found in papers", count),
        Column("share", "Share", percent),
        Column("papers_hit", "Papers", count),
        Column("untestable", "Not testable", count),
        Column("kinds", "Found by"),
    ]
    rows = []
    for task, facts in found.items():
        kinds = ", ".join(f"{kind.replace('_', ' ')} {count(number)}" for kind, number in facts["kinds"].items())
        share = facts["questions_hit"] / facts["questions"] if facts["questions"] else None
        rows.append(Row(facts | {"task": task, "share": share, "kinds": kinds or None}, "", {"task": task}))
    note = "Not testable: questions too short to be recognised, and without a PubMed id."
    tables = [Table("contamination", "Test questions found in the papers", columns, rows, note), _examples_table(found)]
    missing = "Whether the papers hold any of the test questions was not measured in this run."
    shown = [table for table in tables if table.rows]
    return Section("contamination", "Contamination", shown, (), _contamination_sentences(run), missing)


def _examples_table(found: dict[str, Any]) -> Table:
    columns = [
        Column(key, label) for key, label in (("task", "Task"), ("question_id", "Question"), ("paper_id", "Paper"))
    ]
    columns += [Column("kind", "Found by"), Column("text", "Text")]
    rows = [Row({"task": task} | example) for task, facts in found.items() for example in facts["examples"]]
    return Table("contamination-examples", "Examples", columns, rows, sortable=True)


def _contamination_sentences(run: Run) -> list[str]:
    hit = sum(facts["questions_hit"] for facts in run.contamination.values())
    if not run.contamination:
        return []
    if not hit:
        return ["None of the test questions was found in the papers."]
    if run.recipe.get("corpus", {}).get("decontaminate"):
        return [f"{plural(hit, 'test question')} found; the papers that hold them were left out of the corpus."]
    return [f"{plural(hit, 'test question')} found in papers that the adapted model was trained on."]


def flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """A nested JSON value as (dotted key, text) pairs."""
    if isinstance(value, dict):
        return [pair for key, inner in value.items() for pair in flat(inner, f"{prefix}.{key}" if prefix else key)]
    if isinstance(value, list):
        return [(prefix, ", ".join(str(item) for item in value) or "none")]
    return [(prefix, "–" if value is None else str(value))]
