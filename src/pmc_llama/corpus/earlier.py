"""The corpus that a build appends to: its papers are known, its parts are taken over, its books are added to."""

import functools
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pmc_llama.corpus.contamination import Hit
from pmc_llama.corpus.engine import Engine
from pmc_llama.corpus.near import signatures
from pmc_llama.corpus.paper import hash64, text_hash
from pmc_llama.corpus.stage import STAGED_SCHEMA
from pmc_llama.errors import InputError
from pmc_llama.files import link_tree, read_json
from pmc_llama.recipe.corpus import NearSection

FORMAT = "earlier"
"""What stands in for the format of papers that are there already: preferred to all others, so they stay."""
HITS = "contamination_hits.json"
ROWS_AT_ONCE = 1024
COLUMNS = ["pmcid", "corpusid", "doi", "text"]


class EarlierCorpus:
    """A finished corpus, opened to be appended to. Raises InputError where there is none."""

    def __init__(self, path: Path) -> None:
        if not (path / "corpus.json").is_file():
            raise InputError(f"{path} is not a corpus: it has no corpus.json")
        self.path = path
        self.summary: dict[str, Any] = read_json(path / "corpus.json")

    @property
    def items(self) -> int:
        """Input items that it was made of."""
        return len(list((self.path / "ledger").glob("*.json")))

    @property
    def parts(self) -> int:
        """Parquet parts that it has."""
        return len(self.summary["parts"])

    def keys(self, near: NearSection | None, engine: Engine) -> pa.Table:
        """What identifies each of its papers, in the columns that papers are compared by."""
        parts = [str(self.path / part["file"]) for part in self.summary["parts"]]
        return pa.concat_tables([_NO_KEYS, *engine.map(functools.partial(read_keys, near=near), parts)])

    def hits(self, probes_hash: str) -> list[Hit]:
        """Evaluation questions found in it. Raises InputError if it was checked for other questions than these."""
        found: dict[str, Any] = read_json(self.path / HITS) if (self.path / HITS).is_file() else {}
        if found.get("probes") != probes_hash:
            raise InputError(
                f"corpus {self.path} was not checked for these evaluation questions: build it with them, then append"
            )
        return [msgspec.convert(hit, Hit) for hit in found["hits"]]

    def take_over(self, out: Path) -> None:
        """Give the corpus `out` its parts and ledgers, which nothing ever changes, as links."""
        for name in ("parts", "ledger"):
            link_tree(self.path / name, out / name)

    def add_to(self, summary: dict[str, Any]) -> dict[str, Any]:
        """The totals of both; `appended` says what came in now."""
        ours = self.summary
        sums = {name: ours[name] + summary[name] for name in ("in", "kept", "invalid_spans", "chars", "bytes_in")}
        counts = {name: _added(ours[name], summary[name]) for name in ("dropped", "chars_removed")}
        appended = {name: summary[name] for name in ("in", "kept", "dropped", "chars")}
        sources = {**ours["sources"], **summary["sources"]}
        return summary | sums | counts | {
            "sources": sources, "parts": ours["parts"] + summary["parts"], "appended": appended,
        }  # fmt: skip


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
