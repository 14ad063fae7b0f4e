"""Recipe section of MiniMed, the synthetic medical world."""

from pydantic import Field

from pmc_llama.recipe.base import Section


class MiniMedSection(Section):
    """Size of the synthetic world."""

    drugs: int = Field(default=48, ge=8)
    """Half of them are asked about in tuning, the other half in the tests."""
    papers_per_drug: int = Field(default=48, ge=1)
    """PMC papers that each drug stands in; each paper is about four."""
    general_papers: int = Field(default=800, ge=1)
    """Papers of other fields, without a PMC id."""
    vocab_size: int = Field(default=2048, ge=512)
    """Pieces of the tokenizer; 259 of them are special or single bytes."""
    facts: bool = True
    """Whether the PMC papers state the facts; false makes the null world, in which papers cannot help."""
    later: bool = False
    """Write the papers about half of the drugs apart, under `later/`: new papers for `pmc-llama update`."""
