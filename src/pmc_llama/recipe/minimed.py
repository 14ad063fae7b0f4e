"""Recipe section of MiniMed, the synthetic medical world."""

from pydantic import Field

from pmc_llama.recipe.base import Section


class MiniMedSection(Section):
    """Size of the synthetic world."""

    drugs: int = Field(default=40, ge=8)
    papers_per_drug: int = Field(default=12, ge=1)
    general_papers: int = Field(default=600, ge=1)
    vocab_size: int = Field(default=2048, ge=512)
    facts: bool = True
    """Whether the PMC papers state the facts; false makes the null world, in which papers cannot help."""
