"""Recipe sections of the corpus room: sources, selection, cleaning, deduplication."""

import re
from typing import Literal

from pydantic import Field, field_validator

from pmc_llama.recipe.base import Section

SourceFormat = Literal["auto", "s2orc_v1", "jats", "text", "jsonl", "parquet"]


class SourceSection(Section):
    """One input: files of one format. Paths are relative to `data.root` and may hold wildcards."""

    name: str
    format: SourceFormat = "auto"
    paths: list[str] = Field(min_length=1)
    papers: list[str] = []
    """`papers` shards of the S2 Datasets API, to find a PMC id by corpusid where the record itself has none."""
    split_on: str | None = None
    """For `text`: a regular expression; a line that it matches whole starts a document (None: a file is one)."""

    @field_validator("split_on")
    @classmethod
    def _is_pattern(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return value


class SelectSection(Section):
    """Which papers are kept. Every paper that is not has a reason in the ledger."""

    pmcid: Literal["required", "absent", "any"] = "required"
    licenses: list[str] | None = None
    min_chars: int = Field(default=0, ge=0)


class CleanSection(Section):
    """How a paper becomes text. `raw` is the whole text as PMC-LLaMA took it; `clean` is our profile."""

    profile: Literal["raw", "clean"] = "clean"
    citations: Literal["drop", "keep", "tag"] = "drop"


class DedupSection(Section):
    """Duplicates: exact by PMC id, DOI and text hash."""

    exact: bool = True
    prefer: list[str] = ["jats", "s2orc_v1"]
    """Formats in the order in which versions of one paper are preferred; the smallest item and row wins within one."""


class CorpusSection(Section):
    """A corpus: sources -> selected -> cleaned -> deduplicated Parquet parts with a ledger."""

    sources: list[SourceSection] = Field(min_length=1)
    select: SelectSection = SelectSection()
    clean: CleanSection = CleanSection()
    dedup: DedupSection = DedupSection()

    @field_validator("sources")
    @classmethod
    def _names_differ(cls, value: list[SourceSection]) -> list[SourceSection]:
        names = [source.name for source in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two sources are named {name!r}; the ledger tells them apart by name")
        return value
