"""Which papers are kept: PMC id (own or joined), licence, length. Every refusal is a named reason."""

from pmc_llama.corpus.join import PaperMap
from pmc_llama.corpus.paper import Paper
from pmc_llama.recipe.corpus import SelectSection


def license_key(license_name: str) -> str:
    """A licence in one spelling: "CC BY-NC 4.0", "CCBYNC" and "cc-by-nc" are the same."""
    letters = "".join(character for character in license_name.lower() if character.isalnum() or character == ".")
    return letters.rstrip("0123456789.") if letters.startswith("cc") and letters.rstrip(".") != "cc0" else letters


class Selector:
    """The recipe's selection, with the PMC ids known for one source."""

    def __init__(self, section: SelectSection, papers: PaperMap | None = None) -> None:
        self._section = section
        self._papers = papers
        self._licenses = None if section.licenses is None else {license_key(name) for name in section.licenses}

    @property
    def decides_on_ids(self) -> bool:
        """Whether ids alone can refuse a paper, so that readers may look at them first."""
        return self._section.pmcid != "any"

    def refuse_ids(self, corpusid: int | None, pmcid: int | None) -> str | None:
        """The reason to drop a paper with these ids, or None."""
        if self._section.pmcid == "any":
            return None
        if pmcid is None and self._papers is not None:
            pmcid, _ = self._papers.find(corpusid)
        if self._section.pmcid == "required":
            return "no_pmcid" if pmcid is None else None
        return "has_pmcid" if pmcid is not None else None

    def refuse(self, paper: Paper) -> str | None:
        """Fill in what the join knows, then the reason to drop the paper, or None."""
        if self._papers is not None:
            pmcid, year = self._papers.find(paper.corpusid)
            paper.pmcid = paper.pmcid if paper.pmcid is not None else pmcid
            paper.year = paper.year if paper.year is not None else year
        reason = self.refuse_ids(paper.corpusid, paper.pmcid)
        if reason is not None:
            return reason
        if paper.retracted:
            return "retracted"
        if self._licenses is not None and license_key(paper.license or "") not in self._licenses:
            return "license"
        return "no_text" if not paper.text.strip() else None

    def refuse_text(self, text: str) -> str | None:
        """The reason to drop a cleaned text, or None."""
        if not text:
            return "nothing_left"
        return "too_short" if len(text) < self._section.min_chars else None
