"""The card beside the corpus: what it is made of, in the form that Hugging Face shows for a data set."""

from pathlib import Path

from pmc_llama.escape import markdown
from pmc_llama.files import write_text
from pmc_llama.licenses import count_licenses
from pmc_llama.recipe.corpus import CorpusSection
from pmc_llama.records.corpus import CorpusSummary
from pmc_llama.run_dir import CorpusDir

FRONT = """---
configs:
- config_name: default
  data_files: parts/*.parquet
license: other
license_name: each-paper-its-own
task_categories:
- text-generation
tags:
- biology
- medical
---
"""
SHOWN = 20
COLUMNS = """| column | |
|---|---|
| `paper_id` | `pmc:1950857`, else `s2:…` (S2 corpus id), `pmid:…`, `doi:…` or the name in its source |
| `pmcid`, `pmid`, `doi`, `corpusid` | identifiers, null where unknown |
| `title`, `year`, `journal`, `license` | metadata, null where unknown |
| `source` | which input of the recipe it came from |
| `text` | the text |
"""


def write_card(section: CorpusSection, summary: CorpusSummary, out: Path) -> None:
    """Write `README.md` beside the parts."""
    write_text(CorpusDir(out).card, render_card(section, summary, count_licenses(out)))


def render_card(section: CorpusSection, summary: CorpusSummary, licenses: list[tuple[str | None, int]]) -> str:
    """The card as Markdown."""
    lines = [
        FRONT,
        f"# A corpus of {summary.kept:,} papers, {summary.chars:,} characters\n",
        "Every paper keeps its own licence (column `license`); the collection grants no rights beyond it.\n",
        "| licence | papers |\n|---|---:|",
        *[f"| {markdown(name or 'unknown')} | {count:,} |" for name, count in licenses],
        "",
        "## Where it comes from\n",
        "| source | format | in | kept |\n|---|---|---:|---:|",
    ]
    formats = {source.name: source.format for source in section.sources}
    for name, counts in summary.sources.items():
        form = formats.get(name, "of an earlier revision")
        lines.append(f"| {markdown(name)} | {form} | {counts.documents_in:,} | {counts.kept:,} |")
    lines += ["", "## What was left out\n", "| reason | papers |\n|---|---:|"]
    lines += [f"| {reason} | {count:,} |" for reason, count in sorted(summary.dropped.items())]
    if summary.unread:
        lines += ["", "Could not be read, the first of them:\n"]
        lines += [f"- {markdown(place)}" for place in summary.unread[:SHOWN]]
    lines += [
        "",
        "Could not be read, the first of them:\n",
        *(f"- {markdown(place)}" for place in summary.unread[:SHOWN]),
    ]
    lines += [
        "",
        f"## Cleaning: profile `{section.clean.profile}`\n",
        "| rule | version | characters removed |\n|---|---:|---:|",
    ]
    lines += [
        f"| {rule} | {summary.rules.get(rule, '')} | {count:,} |"
        for rule, count in sorted(summary.chars_removed.items())
    ]
    lines += ["", "## Columns\n", COLUMNS]
    return "\n".join(lines)
