"""Which papers are kept: PMC id (own or joined), licence, year, field, language, length. Every refusal has a name."""

from collections.abc import Iterator

from pmc_llama.corpus.join import NOTHING, PaperMap, PmcIds
from pmc_llama.corpus.paper import Paper
from pmc_llama.errors import PmcLlamaError
from pmc_llama.recipe.corpus import SelectSection

LANGUAGE_CHARS = 2000
"""How much of a text tells its language."""


def license_key(license_name: str) -> str:
    """A licence in one spelling: "CC BY-NC 4.0", "CCBYNC" and "cc-by-nc" are the same."""
    letters = "".join(character for character in license_name.lower() if character.isalnum())
    if letters.startswith("cc0"):
        return "cc0"
    return letters.rstrip("0123456789") if letters.startswith("cc") else letters


class Selector:
    """The recipe's selection, with what other tables know of the papers of one source."""

    def __init__(
        self,
        section: SelectSection,
        papers: PaperMap | None = None,
        pmc_ids: PmcIds | None = None,
        deleted: frozenset[int] = frozenset(),
    ) -> None:
        self._section = section
        self._deleted = deleted
        self._papers = papers
        self._pmc_ids = pmc_ids
        self._licenses = None if section.licenses is None else {license_key(name) for name in section.licenses}

    @property
    def decides_on_ids(self) -> bool:
        """Whether corpusid and PMC id alone can refuse a paper, so that readers may look at them first."""
        return self._section.pmcid != "any" and self._pmc_ids is None

    def refuse_ids(self, corpusid: int | None, pmcid: int | None) -> str | None:
        """The reason to drop a paper with these ids, or None."""
        if corpusid in self._deleted:
            return "deleted"
        if pmcid is None and self._papers is not None:
            pmcid = self._papers.find(corpusid).pmcid
        return self._refuse_pmcid(pmcid)

    def _refuse_pmcid(self, pmcid: int | None, is_text: bool = False) -> str | None:
        wanted = self._section.pmcid or ("any" if is_text else "required")
        if wanted == "required" and pmcid is None:
            return "no_pmcid"
        return "has_pmcid" if wanted == "absent" and pmcid is not None else None

    def refuse(self, paper: Paper, *, is_text: bool = False) -> str | None:
        """Fill in what the joins know, then the reason to drop the paper, or None.

        `is_text`: it is a plain text, which can have no PMC id; it needs one only where the recipe says so.
        """
        if paper.corpusid in self._deleted:
            return "deleted"
        self._complete(paper)
        reason = self._refuse_pmcid(paper.pmcid if paper.pmcid is not None else paper.part_of, is_text)
        return reason if reason is not None else next(self._reasons(paper), None)

    def _complete(self, paper: Paper) -> None:
        known = self._papers.find(paper.corpusid) if self._papers is not None else NOTHING
        paper.pmcid = paper.pmcid if paper.pmcid is not None else known.pmcid
        paper.year = paper.year if paper.year is not None else known.year
        paper.fields = paper.fields or known.fields
        if paper.pmcid is None and self._pmc_ids is not None:
            paper.pmcid = self._pmc_ids.find(paper.doi, paper.pmid)

    def _reasons(self, paper: Paper) -> Iterator[str]:
        section = self._section
        if paper.retracted and not section.retracted:
            yield "retracted"
        if paper.manuscript and not section.manuscripts:
            yield "manuscript"
        if paper.ocr and not section.ocr:
            yield "ocr"
        if self._licenses is not None and license_key(paper.license or "") not in self._licenses:
            yield "license"
        if (section.min_year is not None or section.max_year is not None) and not self._year_fits(paper.year):
            yield "year"
        if section.fields is not None and not set(section.fields) & set(paper.fields):
            yield "field"
        if not paper.text.strip():
            yield "no_text"

    def _year_fits(self, year: int | None) -> bool:
        low, high = self._section.min_year, self._section.max_year
        return year is not None and (low is None or year >= low) and (high is None or year <= high)

    def refuse_text(self, text: str) -> str | None:
        """The reason to drop a cleaned text, or None."""
        section = self._section
        if not text:
            return "nothing_left"
        if len(text) < section.min_chars:
            return "too_short"
        if section.max_chars is not None and len(text) > section.max_chars:
            return "too_long"
        if section.languages is not None and language(text) not in section.languages:
            return "language"
        return None


def language(text: str) -> str:
    """The ISO code of the language of a text by its first characters; `un` when CLD2 cannot tell."""
    try:
        import pycld2
    except ImportError:
        raise PmcLlamaError("select.languages needs the extra `language`: pip install 'pmc-llama[language]'") from None
    try:
        _, _, found = pycld2.detect(text[:LANGUAGE_CHARS].encode("utf-8", "replace"))
    except pycld2.error:  # characters that CLD2 does not take
        return "un"
    return str(found[0][1])
