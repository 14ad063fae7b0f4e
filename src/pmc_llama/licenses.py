"""Papers of a corpus by licence, for its own card and for those of the models that read it."""

from pathlib import Path

from pmc_llama.run_dir import CorpusDir


def count_licenses(corpus: Path) -> list[tuple[str | None, int]]:
    """Papers of each licence in all parts, most first; None: not stated."""
    import polars as pl

    parts = CorpusDir(corpus).parts
    if not any(parts.glob("*.parquet")):
        return []
    counts = pl.scan_parquet(parts / "*.parquet").group_by("license").len()
    return counts.sort(["len", "license"], descending=[True, False], nulls_last=True).collect().rows()
