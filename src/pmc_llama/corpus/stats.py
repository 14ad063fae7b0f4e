"""What a built corpus holds: papers, licences, years, journals, sections, and what each cleaning rule removed."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table

from pmc_llama.escape import markup
from pmc_llama.records.corpus import read_corpus_summary
from pmc_llama.records.tokens import read_store_info
from pmc_llama.run_dir import CorpusDir, RunDir

TOP = 15
HEADING = r"(?m)^#{2,6} (.+)$"


@dataclass(frozen=True)
class CorpusStats:
    """Counts of papers by kind; `chars_per_paper` holds the 5th, 50th and 95th percentile."""

    papers: int
    tokens: int | None
    chars: int
    chars_per_paper: dict[str, float | None]
    licenses: dict[str | None, int]
    years: dict[str, int]
    journals: dict[str | None, int]
    sources: dict[str | None, int]
    sections: dict[str, int]
    dropped: dict[str, int]
    chars_removed: dict[str, int]


def corpus_stats(corpus: Path) -> CorpusStats:
    """Counts over a corpus directory, part by part: memory stays that of one part. Raises InputError without one.

    `tokens` is what the run's token store says, where the corpus lies in a run that has one; else None.
    """
    summary = read_corpus_summary(CorpusDir(corpus).summary)
    counts: dict[str, Counter[Any]] = {name: Counter() for name in ("license", "year", "journal", "source")}
    sections: Counter[str] = Counter()
    lengths: list[pl.Series] = []
    for part in summary.parts:
        table = pl.read_parquet(corpus / part.file, glob=False, columns=[*counts, "text"])
        for name, counter in counts.items():
            counter.update(dict(table.get_column(name).value_counts().iter_rows()))
        lengths.append(table.get_column("text").str.len_chars())
        headings = table.get_column("text").str.extract_all(HEADING).explode().drop_nulls()
        sections.update(headings.str.strip_chars("# ").str.to_lowercase().to_list())
    chars = pl.concat(lengths) if lengths else pl.Series([], dtype=pl.UInt32)
    quantiles = {f"p{share}": chars.quantile(share / 100, "nearest") for share in (5, 50, 95)} if len(chars) else {}
    store = RunDir(corpus.resolve().parent).store(corpus.resolve().name)
    return CorpusStats(
        papers=len(chars),
        tokens=read_store_info(store).tokens if store.is_dir() else None,
        chars=int(chars.sum() or 0),
        chars_per_paper=quantiles,
        licenses=dict(counts["license"].most_common()),
        years={str(year): count for year, count in sorted(counts["year"].items(), key=lambda item: item[0] or 0)},
        journals=dict(counts["journal"].most_common(TOP)),
        sources=dict(counts["source"].most_common()),
        sections=dict(sections.most_common(TOP)),
        dropped=summary.dropped,
        chars_removed=summary.chars_removed,
    )


def render_stats(stats: CorpusStats) -> RenderableType:
    """The counts as tables for a terminal."""
    lengths = ", ".join(f"{name} {value:,.0f}" for name, value in stats.chars_per_paper.items() if value is not None)
    tokens = f", {stats.tokens:,} tokens" if stats.tokens is not None else ""
    total = f"{stats.papers:,} papers, {stats.chars:,} characters (per paper: {lengths}){tokens}"
    tables = [
        _table(title, "characters" if counts is stats.chars_removed else "papers", counts)
        for title, counts in (
            ("Sources", stats.sources),
            ("Licences", stats.licenses),
            ("Years", stats.years),
            ("Journals", stats.journals),
            ("Sections", stats.sections),
            ("Left out", stats.dropped),
            ("Removed by cleaning", stats.chars_removed),
        )
        if counts
    ]
    return Group(total, *tables)


def _table(title: str, unit: str, counts: Mapping[Any, int]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column(unit, justify="right")
    for name, count in counts.items():
        table.add_row(markup(str(name)) if name is not None else "unknown", f"{count:,}")
    return table
