"""Recipe section of MiniMed, the synthetic medical world."""

from typing import Annotated

from pydantic import Field

from pmc_llama.recipe.base import Section
from pmc_llama.recipe.effects import HERE, affects


class MiniMedSection(Section):
    """Size of the synthetic world."""

    drugs: Annotated[int, affects(HERE)] = Field(default=48, ge=8)
    """Half of them are asked about in tuning, the other half in the tests."""
    papers_per_drug: Annotated[int, affects(HERE)] = Field(default=48, ge=1)
    """PMC papers that each drug stands in; each paper is about four."""
    general_papers: Annotated[int, affects(HERE)] = Field(default=800, ge=1)
    """Papers of other fields, without a PMC id."""
    vocab_size: Annotated[int, affects(HERE)] = Field(default=2048, ge=512)
    """Pieces of the tokenizer; 259 of them are special or single bytes."""
    facts: Annotated[bool, affects(HERE)] = True
    """Whether the PMC papers state the facts; false makes the null world, in which papers cannot help."""
    later: Annotated[bool, affects(HERE)] = False
    """Write the papers about half of the drugs apart, under `later/`: new papers for `pmc-llama update`."""
