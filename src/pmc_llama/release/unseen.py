"""Which papers are new: by PMC id, S2 corpus id, DOI and text, against every corpus that came before."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pmc_llama.errors import InputError
from pmc_llama.files import atomic_path

ROWS_AT_ONCE = 1024
KEYS = ("pmcid", "corpusid", "doi", "text")
COLUMNS = ("paper_id", "pmcid", "pmid", "doi", "corpusid", "title", "year", "journal", "license", "text")


def keys_of(corpora: Iterable[Path]) -> pl.DataFrame:
    """What identifies each paper of the corpora: one row a paper, `text` being a hash of its words."""
    rows: dict[str, list[Any]] = {"paper_id": [], "chars": []} | {key: [] for key in KEYS}
    for batch in _batches(corpora, ("paper_id", *KEYS)):
        texts = batch.column("text").to_pylist()
        rows["paper_id"] += batch.column("paper_id").to_pylist()
        rows["chars"] += [len(text) for text in texts]
        rows["text"] += [_text_key(text) for text in texts]
        rows["doi"] += [doi and doi.lower() for doi in batch.column("doi").to_pylist()]
        for key in ("pmcid", "corpusid"):
            rows[key] += batch.column(key).to_pylist()
    types = {"paper_id": pl.String, "chars": pl.Int64, "pmcid": pl.Int64, "corpusid": pl.Int64, "doi": pl.String}
    return pl.DataFrame(rows, schema={**types, "text": pl.String})


def unseen(incoming: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """The rows of `incoming` that share no key with `known`; a key that is null identifies nothing."""
    for key in KEYS:
        seen = known.get_column(key).drop_nulls().unique()
        incoming = incoming.filter(pl.col(key).is_null() | ~pl.col(key).is_in(seen.implode()))
    return incoming


def sample(papers: pl.DataFrame, chars: float, seed: int) -> pl.DataFrame:
    """A seeded choice of papers that together have `chars` characters, or all of them; the last one may go beyond."""
    order = [hashlib.sha256(f"{seed}:{paper}".encode()).hexdigest() for paper in papers.get_column("paper_id")]
    shuffled = papers.with_columns(pl.Series("order", order)).sort("order").drop("order")
    return shuffled.filter(pl.col("chars").cum_sum() - pl.col("chars") < chars)


def write_papers(corpora: Iterable[Path], wanted: pl.DataFrame, out: Path) -> None:
    """Write the wanted papers of the corpora as one Parquet file that the corpus room reads; one row a paper."""
    left = set(wanted.get_column("paper_id"))
    with atomic_path(out) as partial:
        writer: pq.ParquetWriter | None = None
        for batch in _batches(corpora, COLUMNS):
            mine = [paper in left for paper in batch.column("paper_id").to_pylist()]
            left -= set(batch.column("paper_id").to_pylist())
            table = pa.Table.from_batches([batch]).filter(pa.array(mine)).rename_columns(["id", *COLUMNS[1:]])
            writer = writer or pq.ParquetWriter(partial, table.schema, compression="zstd")
            writer.write_table(table)
        if writer is None or left:
            raise InputError(f"{len(left)} papers are in no corpus of {', '.join(map(str, corpora))}")
        writer.close()


def _batches(corpora: Iterable[Path], columns: Iterable[str]) -> Iterator[pa.RecordBatch]:
    for corpus in corpora:
        parts = sorted((corpus / "parts").glob("*.parquet"))
        if not (corpus / "corpus.json").is_file():
            raise InputError(f"{corpus} is not a corpus: it has no corpus.json")
        for part in parts:
            with pq.ParquetFile(part) as file:
                yield from file.iter_batches(ROWS_AT_ONCE, columns=list(columns))


def _text_key(text: str) -> str:
    """Hash of the text's words, whatever their case and what is between them."""
    return hashlib.blake2b(" ".join(text.lower().split()).encode(), digest_size=16).hexdigest()
