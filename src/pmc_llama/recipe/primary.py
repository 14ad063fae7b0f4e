"""Recipe section of the question that a run is to answer."""

from typing import Annotated

from pydantic import Field

from pmc_llama.recipe.base import Section
from pmc_llama.recipe.effects import HERE, affects


class PrimarySection(Section):
    """The question that the verdict answers, written down before the first score; everything else is exploratory."""

    regime: Annotated[str | None, affects(HERE)] = None
    """The regime that it is about (None: the first full tuning on all questions, else the first regime)."""
    tasks: Annotated[list[str], affects(HERE)] = []
    """The tasks that it is about, corrected among themselves; a single one is tested alone (empty: all)."""
    margin: Annotated[float, affects(HERE)] = Field(default=0.02, gt=0, lt=1)
    """Differences of accuracy under this are called small (0.02 is 2 percentage points)."""
