"""What comes in kinds when a corpus is made: formats and rules, each a file of its own and one line here.

A line names the file lazily (`module:name` below `pmc_llama.corpus`), so that a recipe is checked without loading any.
"""

import importlib
from typing import Any, NamedTuple

CORPUS = "pmc_llama.corpus"


class Format(NamedTuple):
    """The reader of a format."""

    reader: str
    dedup_rank: int | None = None
    """Place among the formats when versions of one paper are compared, from 0; None stands behind all that have one."""
    is_json: bool = False
    """Its records are JSON, so that each is also a line and a text, if the recipe says so."""


class Rule(NamedTuple):
    """A cleaning rule, as `pmc_llama.corpus.rule` decorates it, and the profiles that have it."""

    function: str
    profiles: tuple[str, ...]


FORMATS = {
    "s2orc_v1": Format("readers.s2orc_v1:S2orcV1Reader", dedup_rank=3, is_json=True),
    "bioc": Format("readers.bioc:BiocReader", dedup_rank=1, is_json=True),
    "s2orc_legacy": Format("readers.s2orc_legacy:S2orcLegacyReader", dedup_rank=4, is_json=True),
    "s2orc_v2": Format("readers.s2orc_v2:S2orcV2Reader", dedup_rank=2, is_json=True),
    "jats": Format("readers.jats_files:JatsReader", dedup_rank=0),
    "parquet": Format("readers.plain:ParquetReader"),
    "jsonl": Format("readers.plain:JsonlReader", is_json=True),
    "text": Format("readers.plain:TextReader"),
}
"""In the order in which readers are asked whether a content is theirs: the particular before the general."""

RULES = {
    "back_matter": Rule("rules:without_back_matter", ("clean",)),
    "citations": Rule("citations:citations", ("clean",)),
    "mentions": Rule("meditron:meditron_mentions", ("meditron",)),
    "rejoin": Rule("rules:rejoin", ("clean", "pes2o")),
    "characters": Rule("rules:tidy_text", ("clean", "meditron", "pes2o")),
    "rare_words": Rule("word_counts:without_rare_words", ("pes2o",)),
    "empty_headers": Rule("rules:without_empty_headers", ("clean", "meditron", "pes2o")),
}
"""In the order in which they run."""


def by_dedup_rank() -> list[str]:
    """The formats of papers, the most preferred version first."""
    ranks = {name: entry.dedup_rank for name, entry in FORMATS.items() if entry.dedup_rank is not None}
    return sorted(ranks, key=ranks.__getitem__)


def rules_of(profile: str) -> list[str]:
    """The switchable rules of a profile, in their order."""
    return [name for name, entry in RULES.items() if profile in entry.profiles]


def modules() -> list[str]:
    """All modules that the lines name."""
    lines = [*(entry.reader for entry in FORMATS.values()), *(entry.function for entry in RULES.values())]
    return sorted({f"{CORPUS}.{line.partition(':')[0]}" for line in lines})


def load(where: str) -> Any:
    """What a line of the registry names."""
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(f"{CORPUS}.{module}"), name)
