"""What a built corpus holds: papers, licences, years, journals, sections, and what each cleaning rule removed."""

from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table

from pmc_llama.errors import InputError
from pmc_llama.files import read_json

TOP = 15
HEADING = r"(?m)^#{2,6} (.+)$"


def corpus_stats(corpus: Path) -> dict[str, Any]:
    """Counts over a corpus directory, part by part: memory stays that of one part. Raises InputError without one.

    `tokens` is what the run's token store says, where the corpus lies in a run that has one; else None.
    """
    if not (corpus / "corpus.json").exists():
        raise InputError(f"{corpus} holds no finished corpus (there is no corpus.json)")
    summary = read_json(corpus / "corpus.json")
    counts: dict[str, Counter[Any]] = {name: Counter() for name in ("license", "year", "journal", "source")}
    sections: Counter[str] = Counter()
    lengths: list[pl.Series] = []
    for part in summary["parts"]:
        table = pl.read_parquet(corpus / part["file"], columns=[*counts, "text"])
        for name, counter in counts.items():
            counter.update(dict(table.get_column(name).value_counts().iter_rows()))
        lengths.append(table.get_column("text").str.len_chars())
        headings = table.get_column("text").str.extract_all(HEADING).explode().drop_nulls()
        sections.update(headings.str.strip_chars("# ").str.to_lowercase().to_list())
    chars = pl.concat(lengths) if lengths else pl.Series([], dtype=pl.UInt32)
    quantiles = {f"p{share}": chars.quantile(share / 100, "nearest") for share in (5, 50, 95)} if len(chars) else {}
    store = corpus.resolve().parent / "tokens" / corpus.resolve().name / "store.json"
    return {
        "papers": len(chars),
        "tokens": read_json(store)["tokens"] if store.exists() else None,
        "chars": int(chars.sum() or 0),
        "chars_a_paper": quantiles,
        "licenses": dict(counts["license"].most_common()),
        "years": {str(year): count for year, count in sorted(counts["year"].items(), key=lambda item: item[0] or 0)},
        "journals": dict(counts["journal"].most_common(TOP)),
        "sources": dict(counts["source"].most_common()),
        "sections": dict(sections.most_common(TOP)),
        "dropped": summary["dropped"],
        "chars_removed": summary["chars_removed"],
        "contamination": summary.get("contamination", {}),
    }


def render_stats(stats: dict[str, Any]) -> RenderableType:
    """The counts as tables for a terminal."""
    lengths = ", ".join(f"{name} {value:,.0f}" for name, value in stats["chars_a_paper"].items())
    tokens = f", {stats['tokens']:,} tokens" if stats["tokens"] is not None else ""
    total = f"{stats['papers']:,} papers, {stats['chars']:,} characters (a paper: {lengths}){tokens}"
    tables = [
        _table(title, "papers" if key != "chars_removed" else "characters", stats[key])
        for title, key in (
            ("Sources", "sources"),
            ("Licences", "licenses"),
            ("Years", "years"),
            ("Journals", "journals"),
            ("Sections", "sections"),
            ("Left out", "dropped"),
            ("Removed by cleaning", "chars_removed"),
        )
        if stats[key]
    ]
    return Group(total, *tables)


def _table(title: str, unit: str, counts: dict[str, int]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column(unit, justify="right")
    for name, count in counts.items():
        table.add_row(str(name) if name is not None else "unknown", f"{count:,}")
    return table
