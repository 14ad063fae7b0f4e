"""One run directory becomes one self-contained HTML page, and its tables as Markdown and CSV."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from pmc_llama.errors import InputError
from pmc_llama.files import write_text
from pmc_llama.report import curves, figures, text, views
from pmc_llama.report.browser import browser
from pmc_llama.report.layout import Column, Row, Table
from pmc_llama.report.predictions import cells, read_predictions
from pmc_llama.report.run import Corpus, Run
from pmc_llama.report.svg import Figure
from pmc_llama.report.text import count, percent, short
from pmc_llama.report.verdict import judge, primary_regime

TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("pmc_llama.report"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.globals["text"] = text


@dataclass(frozen=True)
class Section:
    """One part of the page: `missing` is the sentence that stands there where the run has nothing to show."""

    name: str
    title: str
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    sentences: Sequence[str] = ()
    missing: str = ""

    @property
    def empty(self) -> bool:
        """Whether the run has nothing to show here."""
        return not (self.tables or self.figures or self.sentences)


def build_report(run_dir: Path, *, title: str | None = None) -> Path:
    """Write `report.html` and `report/tables/*.md|csv` from what is on disk in `run_dir`, and return the page's path.

    Parts that the run does not have (tuning, a general corpus, questions) become a sentence. Raises InputError if
    `run_dir` is no folder, or if its predictions contradict themselves.
    """
    if not run_dir.is_dir():
        raise InputError(f"{run_dir} is not a run directory")
    run = Run(run_dir)
    regime = primary_regime(run.results, run.recipe)
    sections = [results_section(run), calibration_section(run, regime), training_section(run), corpus_section(run)]
    html = render(
        "report.html",
        title=title or f"{run.recipe.get('name', run_dir.name)}: base against adapted",
        run=run,
        verdict=judge(run.results, run.recipe),
        strip=[row for row in run.results["summary"] if row["regime"] == regime],
        sections=sections,
        browser=browser(run.questions, run.predictions),
        environment=flat(run.environment),
    )
    for section in sections:
        for table in section.tables:
            table.write(run_dir / "report" / "tables")
    page = run_dir / "report.html"
    write_text(page, html)
    return page


def render(template: str, **values: Any) -> str:
    """A page from its template, with style and script inside it and a policy that forbids everything from outside."""
    style, script = (asset(name) for name in ("style.css", "script.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return TEMPLATES.get_template(template).render(
        style=Markup(style), script=Markup(script), script_sha256=digest, **values
    )


def asset(name: str) -> str:
    """A file of the template folder, as it is."""
    assert TEMPLATES.loader is not None
    return TEMPLATES.loader.get_source(TEMPLATES, name)[0]


def results_section(run: Run) -> Section:
    """The paper's table, the differences and the learning curves."""
    results = run.results
    tables = [
        views.paper_table(results, run.recipe),
        views.differences_table(results),
        views.cells_table(results),
        views.baselines_table(results),
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
    predictions = run.path / "predictions.parquet"
    found = list(cells(read_predictions(predictions))) if predictions.is_file() else []
    missing = "No probabilities were recorded, so calibration cannot be shown."
    return Section("calibration", "Calibration", (), figures.reliability(found, regime), missing=missing)


def training_section(run: Run) -> Section:
    """Loss, forgetting and coverage."""
    shown = curves.pretraining(run) + curves.perplexity(run) + curves.coverage(run) + curves.tuning(run)
    return Section("training", "Training", (), shown, curves.forgetting(run), "Nothing was trained in this run.")


def corpus_section(run: Run) -> Section:
    """What came in, why papers fell out, where they are from and under which licences."""
    funnels = [shown for shown in map(curves.funnel, run.corpora) if shown]
    tables = [table for corpus in run.corpora for table in (sources_table(corpus), licenses_table(corpus))]
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


def flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """A nested JSON value as (dotted key, text) pairs."""
    if isinstance(value, dict):
        return [pair for key, inner in value.items() for pair in flat(inner, f"{prefix}.{key}" if prefix else key)]
    if isinstance(value, list):
        return [(prefix, ", ".join(str(item) for item in value) or "none")]
    return [(prefix, "–" if value is None else str(value))]
