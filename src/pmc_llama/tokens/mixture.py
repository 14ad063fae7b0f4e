"""Sources mixed in exact ratios in every global batch, each in its own order."""

import math
from collections.abc import Mapping
from fractions import Fraction
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from pmc_llama.errors import RecipeError
from pmc_llama.files import sha256_json
from pmc_llama.tokens.order import StoreBatches, check_step, coverage_curve, join
from pmc_llama.train.batches import Rows


class Mixture:
    """Global batches made of rows of several sources: a `BatchSource`.

    After any number of rows, the first sources in `ratios` together have had their exact share, rounded down to a row.
    So a global batch holds its shares to less than two rows, and any number of batches in which they are whole rows
    holds them exactly.
    """

    def __init__(
        self, sources: Mapping[str, StoreBatches], ratios: Mapping[str, float], epochs_of: str, global_batch: int
    ) -> None:
        self._sources, self._names, self._global_batch = dict(sources), list(ratios), global_batch
        self.seq_len = sources[epochs_of].seq_len
        shares = [Fraction(str(ratio)) for ratio in ratios.values()]
        total = sum(shares)
        self._bounds = [bound / total for bound in accumulate(shares)]  # the last one is 1
        self.shares = {name: float(share / total) for name, share in zip(self._names, shares, strict=True)}
        share = shares[self._names.index(epochs_of)] / total
        self.total_rows = math.ceil(Fraction(sources[epochs_of].total_rows) / share)
        self.steps = -(-self.total_rows // global_batch)
        self.total_tokens = sum(source.total_tokens for source in sources.values())
        settings = [list(ratios.items()), epochs_of, global_batch]
        self.fingerprint = sha256_json([[sources[name].fingerprint for name in ratios], settings])

    def rows(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        """Rows `rank::world` of global batch `step`, in which the sources' rows follow each other source by source."""
        check_step(step, self.steps)
        starts, ends = self.counts(step), self.counts(step + 1)
        parts, place = [], 0
        for name in self._names:
            numbers = np.arange(starts[name], ends[name])
            mine: NDArray[np.int64] = numbers[(rank - place) % world :: world]
            place += len(numbers)
            if len(mine):
                parts.append(self._sources[name].read(mine))
        return join(parts, self.seq_len)

    def counts(self, step: int) -> dict[str, int]:
        """Rows of each source in the first `step` batches."""
        rows = min(step * self._global_batch, self.total_rows)
        ends = [math.floor(rows * bound) for bound in self._bounds]
        return {name: end - start for name, start, end in zip(self._names, [0, *ends], ends, strict=False)}

    def coverage(self, step: int) -> float:
        """Exact share of distinct tokens, of all sources, seen after `step` steps."""
        counts = self.counts(step)
        return sum(source.seen(counts[name]) for name, source in self._sources.items()) / self.total_tokens

    def coverage_by_source(self, step: int) -> dict[str, float]:
        """The same a source."""
        counts = self.counts(step)
        return {name: source.seen(counts[name]) / source.total_tokens for name, source in self._sources.items()}

    def coverage_curves(self, steps: int) -> dict[str, list[tuple[int, float]]]:
        """(step, coverage after it) up to `steps`, of each source and of `all`, for a plot."""
        curve = coverage_curve(self, steps)
        by_source = [self.coverage_by_source(step) for step, _ in curve]
        return {
            name: [(step, shares[name]) for (step, _), shares in zip(curve, by_source, strict=True)]
            for name in self._names
        } | {"all": curve}

    def epochs_by_source(self, step: int) -> dict[str, float]:
        """How often each source has been gone through after `step` steps."""
        counts = self.counts(step)
        return {name: counts[name] / source.rows_per_epoch for name, source in self._sources.items()}


def mixture(
    sources: Mapping[str, StoreBatches], ratios: Mapping[str, float], *, epochs_of: str, global_batch: int
) -> Mixture:
    """Mix sources, for example books, papers and general text 15 : 4 : 1.

    `ratios` are shares of rows in any unit. The run is as long as the source `epochs_of` needs for its own epochs; the
    others go on in their order, epoch after epoch, for as long as they are needed. Raises RecipeError for names or row
    lengths that do not fit.
    """
    if set(sources) != set(ratios) or epochs_of not in ratios:
        raise RecipeError(
            f"mixture: ratios name {', '.join(ratios)} and epochs_of names {epochs_of}, "
            f"but the sources are {', '.join(sources)}"
        )
    if len({source.seq_len for source in sources.values()}) > 1:
        raise RecipeError("mixture: all sources must have rows of the same length")
    return Mixture(sources, ratios, epochs_of, global_batch)
