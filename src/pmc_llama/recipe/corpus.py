"""Recipe sections of the corpus room: sources, selection, cleaning, deduplication."""

import re
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pmc_llama.escape import secret_in
from pmc_llama.recipe.base import Section
from pmc_llama.recipe.effects import HERE, NOTHING, affects, reads
from pmc_llama.recipe.registry import FORMATS, by_dedup_rank, rules_of

if TYPE_CHECKING:
    SourceFormat = str
else:  # of names that only the registry has
    SourceFormat = Literal["auto", *FORMATS]

FIELDS_OF_STUDY = (
    *("Agricultural and Food Sciences", "Art", "Biology", "Business", "Chemistry", "Computer Science", "Economics"),
    *("Education", "Engineering", "Environmental Science", "Geography", "Geology", "History", "Law", "Linguistics"),
    *("Materials Science", "Mathematics", "Medicine", "Philosophy", "Physics", "Political Science", "Psychology"),
    "Sociology",
)
"""Fields of study of Semantic Scholar."""


def refuse_secret(address: str) -> None:
    """Raise ValueError, without showing it, for an address that holds a secret: recipes and ledgers are passed on."""
    if (what := secret_in(address)) is not None:
        raise ValueError(
            f"an address holds {what}, and it would stand in every record of the run: put it into an environment "
            "variable NAME, and ${NAME} in its place"
        )


class SourceSection(Section):
    """One input: files of one format. Paths are relative to `data.root` and may hold wildcards."""

    name: Annotated[str, affects(HERE)]
    format: Annotated[SourceFormat, affects(HERE)] = "auto"
    paths: Annotated[list[str], reads(HERE)] = Field(min_length=1)
    papers: Annotated[list[str], reads(HERE)] = []
    """`papers` shards of the S2 Datasets API: PMC id, year and fields of study by corpusid."""
    pmc_ids: Annotated[str | None, reads(HERE)] = None
    """NCBI's `PMC-ids.csv.gz`: PMC id by DOI or PMID."""
    deleted: Annotated[list[str], reads(HERE)] = []
    """Delete files of the S2 Datasets API's diffs: papers of theirs are dropped."""
    split_on: Annotated[str | None, affects(HERE)] = None
    """For `text`: a regular expression; a line that it matches whole starts a document (None: a file is one)."""

    @field_validator("paths", "papers", "pmc_ids", "deleted")
    @classmethod
    def _hold_no_secrets(cls, value: list[str] | str | None) -> list[str] | str | None:
        for address in [value] if isinstance(value, str) else value or []:
            refuse_secret(address)
        return value

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

    pmcid: Annotated[Literal["required", "absent", "any"] | None, affects(HERE)] = None
    """Whether a paper must have a PMC id, must have none, or may (None: `required` under `corpus`, but `any` for plain
    text there, and `any` under `general` and `extra`)."""
    licenses: Annotated[list[str] | None, affects(HERE)] = None
    """Allowed licences in any spelling, without version: `CC BY`, `CC0`; one of unknown licence is not kept."""
    retracted: Annotated[bool, affects(HERE)] = False
    """Whether papers that a file list or PMC's metadata marks as retracted are kept."""
    manuscripts: Annotated[bool, affects(HERE)] = True
    """Whether authors' manuscripts are kept."""
    ocr: Annotated[bool, affects(HERE)] = True
    """Whether texts recognised from scanned pages are kept."""
    min_year: Annotated[int | None, affects(HERE)] = None
    max_year: Annotated[int | None, affects(HERE)] = None
    """With either limit, a paper of unknown year is not kept."""
    fields: Annotated[list[str] | None, affects(HERE)] = None
    """Fields of study of Semantic Scholar (`Medicine`, `Biology` …); a paper is kept when it has one of them."""
    languages: Annotated[list[str] | None, affects(HERE)] = None
    """ISO codes (`en`); told from the text by CLD2, which the extra `language` installs."""
    min_chars: Annotated[int, affects(HERE)] = Field(default=0, ge=0)
    max_chars: Annotated[int | None, affects(HERE)] = Field(default=None, ge=1)

    @field_validator("fields")
    @classmethod
    def _fields_are_known(cls, value: list[str] | None) -> list[str] | None:
        for name in value or []:
            if name not in FIELDS_OF_STUDY:
                raise ValueError(f"{name!r} is no field of study; known: {', '.join(FIELDS_OF_STUDY)}")
        return value


class CleanSection(Section):
    """How a paper becomes text.

    `raw` is the whole text, as PMC-LLaMA took it; `clean` is our profile; `meditron` and `pes2o` follow the rules of
    those corpora.
    """

    profile: Annotated[Literal["raw", "clean", "meditron", "pes2o"], affects(HERE)] = "clean"
    citations: Annotated[Literal["drop", "keep", "tag"], affects(HERE)] = "drop"
    """For `clean`."""
    off: Annotated[list[str], affects(HERE)] = []
    """Rules of the profile that are left out, by the names that the ledger counts them under."""
    boilerplate: Annotated[int | None, affects(HERE)] = Field(default=None, ge=2)
    """Remove lines that stand in at least so many papers, word for word (None: keep them)."""
    word_counts: Annotated[str | None, reads(HERE)] = None
    """For `pes2o`: a CSV of `word,count` lines, such as the Google 1T unigrams that peS2o used; paragraphs whose words
    are rare by it (mean log2 probability under -20) are removed. Relative to `data.root`, or a URL."""

    @field_validator("word_counts")
    @classmethod
    def _holds_no_secrets(cls, value: str | None) -> str | None:
        refuse_secret(value or "")
        return value

    @model_validator(mode="after")
    def _rules_are_known(self) -> "CleanSection":
        known = rules_of(self.profile)
        for name in self.off:
            if name not in known:
                raise ValueError(f"off: profile {self.profile!r} has no rule {name!r}; its rules: {', '.join(known)}")
        if self.word_counts is not None and self.profile != "pes2o":
            raise ValueError(f"word_counts: only profile 'pes2o' uses it, not {self.profile!r}")
        return self


class NearSection(Section):
    """Near-duplicates by MinHash: `bands` x `rows` hashes over word shingles, verified by estimated similarity.

    The defaults find a copy of which one word in ten was changed (Jaccard similarity about 0.57) with probability 0.97.
    """

    bands: Annotated[int, affects(HERE)] = Field(default=32, ge=1)
    rows: Annotated[int, affects(HERE)] = Field(default=4, ge=1)
    shingle_words: Annotated[int, affects(HERE)] = Field(default=3, ge=1)
    similarity: Annotated[float, affects(HERE)] = Field(default=0.45, gt=0, le=1)
    """Estimated Jaccard similarity from which two papers are versions of one."""


class DedupSection(Section):
    """Duplicates: exact by PMC id, corpus id, DOI and text hash; then near ones."""

    exact: Annotated[bool, affects(HERE)] = True
    prefer: Annotated[list[str], affects(HERE)] = by_dedup_rank()
    """Formats in the order in which versions of a paper are preferred; within one the newest, then the first, wins."""
    near: Annotated[NearSection | None, affects(HERE)] = None


class CorpusSection(Section):
    """A corpus: sources -> selected -> cleaned -> deduplicated Parquet parts with a ledger."""

    sources: Annotated[list[SourceSection], affects(HERE)] = Field(min_length=1)
    select: Annotated[SelectSection, affects(HERE)] = SelectSection()
    clean: Annotated[CleanSection, affects(HERE)] = CleanSection()
    dedup: Annotated[DedupSection, affects(HERE)] = DedupSection()
    decontaminate: Annotated[bool, affects(HERE)] = False
    """Whether papers that hold a question of the evaluation sets are dropped; they are reported in any case."""
    engine: Annotated[Literal["local", "ray"], NOTHING] = "local"
    """Where the work runs: processes of this machine, or an existing Ray cluster (the extra `ray`)."""
    ray_address: Annotated[str, NOTHING] = "auto"

    def with_default_pmcid(self, pmcid: Literal["required", "absent", "any"]) -> "CorpusSection":
        """The section with this `select.pmcid` where it states none."""
        if self.select.pmcid is not None:
            return self
        return self.model_copy(update={"select": self.select.model_copy(update={"pmcid": pmcid})})

    @field_validator("sources")
    @classmethod
    def _names_differ(cls, value: list[SourceSection]) -> list[SourceSection]:
        names = [source.name for source in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two sources are named {name!r}; the ledger tells them apart by name")
        return value
