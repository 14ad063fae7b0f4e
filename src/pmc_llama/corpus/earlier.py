"""The corpus that a build appends to: its papers are known, its parts are taken over, its books are added to."""

import functools
from collections import Counter
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pmc_llama.corpus.engine import Engine
from pmc_llama.corpus.near import signatures
from pmc_llama.corpus.paper import hash64, text_hash
from pmc_llama.corpus.stage import STAGED_SCHEMA
from pmc_llama.files import link_tree
from pmc_llama.recipe.corpus import NearSection
from pmc_llama.records.corpus import Appended, CorpusSummary, read_corpus_summary
from pmc_llama.run_dir import CorpusDir

FORMAT = "earlier"
"""What stands in for the format of papers that are there already: preferred to all others, so they stay."""
ROWS_AT_ONCE = 1024
COLUMNS = ["pmcid", "corpusid", "doi", "text"]


class EarlierCorpus:
    """A finished corpus, opened to be appended to. Raises InputError where there is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.corpus = CorpusDir(path)
        self.summary = read_corpus_summary(self.corpus.summary)

    @property
    def items(self) -> int:
        """Input items that it was made of."""
        return len(list(self.corpus.ledger.glob("*.json")))

    @property
    def parts(self) -> int:
        """Parquet parts that it has."""
        return len(self.summary.parts)

    def keys(self, near: NearSection | None, engine: Engine) -> pa.Table:
        """What identifies each of its papers, in the columns that papers are compared by."""
        parts = [str(self.path / part.file) for part in self.summary.parts]
        return pa.concat_tables([_NO_KEYS, *engine.map(functools.partial(read_keys, near=near), parts)])

    def take_over(self, out: Path) -> None:
        """Give the corpus `out` its parts and ledgers, which nothing ever changes, as links."""
        link_tree(self.corpus.parts, CorpusDir(out).parts)
        link_tree(self.corpus.ledger, CorpusDir(out).ledger)

    def add_to(self, summary: CorpusSummary) -> CorpusSummary:
        """The totals of both; `appended` says what came in now."""
        ours = self.summary
        return msgspec.structs.replace(
            summary,
            documents_in=ours.documents_in + summary.documents_in,
            kept=ours.kept + summary.kept,
            invalid_spans=ours.invalid_spans + summary.invalid_spans,
            chars=ours.chars + summary.chars,
            bytes_in=ours.bytes_in + summary.bytes_in,
            dropped=_added(ours.dropped, summary.dropped),
            chars_removed=_added(ours.chars_removed, summary.chars_removed),
            sources=ours.sources | summary.sources,
            parts=ours.parts + summary.parts,
            appended=Appended(summary.documents_in, summary.kept, summary.dropped, summary.chars),
        )


def read_keys(part: str, near: NearSection | None) -> pa.Table:
    """The keys of the papers of one part; with `near` their signatures too."""
    batches = [_NO_KEYS]
    with pq.ParquetFile(part) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=COLUMNS):
            texts, dois = batch.column("text").to_pylist(), batch.column("doi").to_pylist()
            columns = {
                "pmcid": batch.column("pmcid").to_pylist(),
                "corpusid": batch.column("corpusid").to_pylist(),
                "format": [FORMAT] * len(texts),
                "version": [0] * len(texts),
                "doi_hash": [hash64(doi) if doi else None for doi in dois],
                "text_hash": [text_hash(text) for text in texts],
                "signature": [None] * len(texts) if near is None else signatures(texts, near),
            }
            batches.append(pa.table(columns, schema=_NO_KEYS.schema))
    return pa.concat_tables(batches)


def _added(first: dict[str, int], second: dict[str, int]) -> dict[str, int]:
    total = Counter(first)
    total.update(second)
    return dict(total)


_KEYS = ["pmcid", "corpusid", "format", "version", "doi_hash", "text_hash", "signature"]
_NO_KEYS = pa.schema([STAGED_SCHEMA.field(name) for name in _KEYS]).empty_table()
