"""Papers of a corpus by licence, for its own card and for those of the models that read it."""

from pathlib import Path

from pmc_llama.run_dir import CorpusDir


def count_licenses(corpus: Path) -> list[tuple[str | None, int]]:
    """Papers of each licence in all parts, most first; None: not stated."""
    import polars as pl

    parts = CorpusDir(corpus).parts
    files = sorted(parts.glob("*.parquet"))
    if not files:
        return []
    counts = pl.scan_parquet(files, glob=False).group_by("license").len()
    return counts.sort(["len", "license"], descending=[True, False], nulls_last=True).collect().rows()
