"""How the next token is drawn: each row of a batch by its own temperature, top-p and seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LogitsProcessor


@dataclass(frozen=True)
class Sampling:
    """How one request wants its tokens drawn."""

    temperature: float = 0.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    """Draw from the likeliest tokens that have this probability together."""
    seed: int = 0


class RowSampler(LogitsProcessor):  # type: ignore[misc]
    """Draws a token for each row and leaves it alone with a finite score, so that a greedy search takes it.

    Every row has a generator of its own, so an answer does not depend on who shares its batch.
    """

    def __init__(self, rows: Sequence[Sampling]) -> None:
        self._rows = list(rows)
        self._generators = [torch.Generator().manual_seed(row.seed) for row in self._rows]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """`scores` [B, V] -> the same shape, all but one token a row at -inf."""
        chosen = scores.argmax(-1)  # [B]
        for i, row in enumerate(self._rows):
            if row.temperature > 0:
                chosen[i] = _draw(scores[i].float().cpu(), row, self._generators[i])
        alone = torch.full_like(scores, -torch.inf)
        return alone.scatter(1, chosen[:, None], 0.0)


def _draw(scores: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """One token from `scores` [V]."""
    probabilities, tokens = (scores / sampling.temperature).softmax(-1).sort(descending=True)
    before = probabilities.cumsum(-1) - probabilities
    kept = probabilities.masked_fill(before >= sampling.top_p, 0.0)  # the likeliest token always stays
    return int(tokens[torch.multinomial(kept, 1, generator=generator)])
