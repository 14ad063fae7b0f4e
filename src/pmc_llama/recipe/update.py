"""Recipe section of a later revision, which `pmc-llama update` writes."""

from pathlib import Path

from pydantic import Field

from pmc_llama.recipe.base import Section


class UpdateSection(Section):
    """What makes a run the next revision of another: it appends to that run's corpus and goes on training its model."""

    previous: str
    """The run directory of the revision before."""
    replay: float = Field(default=0.25, ge=0, lt=1)
    """Share of the training rows that are papers of earlier revisions, against forgetting."""

    @property
    def run_path(self) -> Path:
        """The run directory of the revision before."""
        return Path(self.previous)
