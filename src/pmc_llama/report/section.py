"""What one part of the page holds."""

from collections.abc import Sequence
from dataclasses import dataclass

from pmc_llama.report.layout import Table
from pmc_llama.report.svg import Figure


@dataclass(frozen=True)
class Section:
    """One part of the page: `missing` is the sentence that stands there where the run has nothing to show."""

    name: str
    title: str
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    sentences: Sequence[str] = ()
    missing: str = ""
    more_figures: Sequence[Figure] = ()
    """Figures that are folded away."""

    @property
    def empty(self) -> bool:
        """Whether the run has nothing to show here."""
        return not (self.tables or self.figures or self.sentences or self.more_figures)
