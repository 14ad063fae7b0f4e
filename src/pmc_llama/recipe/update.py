"""Recipe section of a later revision, which `pmc-llama update` writes."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from pmc_llama.recipe.base import Section
from pmc_llama.recipe.effects import NOTHING, affects, reads


class UpdateSection(Section):
    """What makes a run the next revision of another: it appends to that run's corpus and goes on training its model."""

    previous: Annotated[str, reads("corpus", "tokens", "pretrain", as_="run")]
    """The run directory of the revision before."""
    replay: Annotated[float, affects("pretrain")] = Field(default=0.25, ge=0, lt=1)
    """Share of the training rows that are papers of earlier revisions, against forgetting."""
    margin: Annotated[float, NOTHING] = Field(default=0.02, gt=0, lt=1)
    """Loss of accuracy against the revision before, and against the first base, that would matter (0.02: 2 points)."""

    @property
    def run_path(self) -> Path:
        """The run directory of the revision before."""
        return Path(self.previous)
