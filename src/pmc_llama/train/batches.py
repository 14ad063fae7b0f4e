"""What training reads: rows of token ids, given by any source that is a pure function of the step."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

IGNORE = -100
"""Label of a position that counts for no loss."""


@dataclass(frozen=True)
class Rows:
    """One process's rows of one global batch; all arrays are int64 [B, T]."""

    ids: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    """Restart at 0 at each packed document: this alone isolates documents from each other."""
    labels: NDArray[np.int64]
    """At the same positions as `ids` (the model shifts); `IGNORE` = no loss, also at each document's first token."""


class BatchSource(Protocol):
    """The data of one run. Global batch n depends on nothing but n, so any number of processes sees the same data."""

    @property
    def fingerprint(self) -> str:
        """Hash of data, settings and seed; a checkpoint is only resumed with the source that it was made with."""
        ...

    @property
    def steps(self) -> int:
        """Optimizer steps in the whole run."""
        ...

    def rows(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        """Rows `rank::world` of global batch `step`, padded to a common T; there may be none."""
        ...

    def coverage(self, step: int) -> float | None:
        """Share of distinct training tokens seen after `step` steps (None: not known)."""
        ...

    def coverage_by_source(self, step: int) -> dict[str, float]:
        """The same of each source of a mixture; empty where there is one source."""
        ...
