"""One run directory becomes one self-contained HTML page, and its tables as Markdown and CSV."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import jinja2
import msgspec
from markupsafe import Markup

from pmc_llama.errors import InputError
from pmc_llama.files import write_text
from pmc_llama.recipe.comparisons import OWN_MODELS, Pair
from pmc_llama.report.browser import browser
from pmc_llama.report.curves import general_perplexity
from pmc_llama.report.run import Run
from pmc_llama.report.sections import all_sections, flat
from pmc_llama.results import text
from pmc_llama.results.text import plural
from pmc_llama.results.verdict import SMALL, judge

TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("pmc_llama.report"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.globals["text"] = text


def build_report(run_dir: Path, *, title: str | None = None) -> Path:
    """Write `report.html` and `report/tables/*.md|csv` from what is on disk in `run_dir`, and return the page's path.

    Parts that the run does not have (tuning, a general corpus, questions) become a sentence. Raises InputError if
    `run_dir` is no folder, or if its predictions contradict themselves.
    """
    if not run_dir.is_dir():
        raise InputError(f"{run_dir} is not a run directory")
    run = Run(run_dir)
    pair = _pair(run)
    results = run.results.between(pair)
    verdict = judge(
        results,
        run.regimes,
        margin=run.primary.margin if run.primary else SMALL,
        general=general_perplexity(run) if pair == OWN_MODELS else None,
        changes=run.primary_changes,
    )
    sections = all_sections(run, verdict.regime)
    html = render(
        "report.html",
        title=title or f"{run.name}: {_title(run.results.models)}",
        run=run,
        verdict=verdict,
        strip=[row for row in results.summary if row.regime == verdict.regime],
        fixed=run.primary is not None,
        margin=run.primary.margin if run.primary else SMALL,
        sections=sections,
        browser=browser(run.questions, run.predictions),
        environment=flat(msgspec.to_builtins(run.environment)) if run.environment else [],
    )
    for section in sections:
        for table in section.tables:
            table.write(run.places.tables)
    page = run.places.page
    write_text(page, html)
    return page


def _pair(run: Run) -> Pair:
    """The two models that the verdict is about: the primary question's, else the first that are compared."""
    compared = run.results.compared
    asked = None if run.primary is None else run.primary.comparison
    return asked if asked in compared else next(iter(compared), OWN_MODELS)


def _title(models: list[str]) -> str:
    """What the page is about."""
    others = len([name for name in models if name not in OWN_MODELS])
    return "base against adapted" + (f", and {plural(others, 'other model')}" if others else "")


def render(template: str, **values: Any) -> str:
    """A page from its template, with style and script inside it and a policy that forbids everything from outside."""
    style, script = (asset(name) for name in ("style.css", "script.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    inside = {"style": Markup(style), "script": Markup(script), "script_sha256": digest}
    return TEMPLATES.get_template(template).render(values | inside)


def asset(name: str) -> str:
    """A file of the template folder, as it is."""
    assert TEMPLATES.loader is not None
    return TEMPLATES.loader.get_source(TEMPLATES, name)[0]
