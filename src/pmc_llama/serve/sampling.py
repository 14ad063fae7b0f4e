"""How the next token is drawn: each request by its own temperature, top-p and seed."""

import secrets
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How one request wants its tokens drawn."""

    temperature: float = 0.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    """Draw from the likeliest tokens that have this probability together."""
    seed: int | None = None
    """-2⁶³ … 2⁶⁴ - 1; None draws another one each time."""


class Sampler:
    """Draws the tokens of one answer, which therefore do not depend on what is generated beside it."""

    def __init__(self, sampling: Sampling) -> None:
        self._how = sampling
        seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        self._generator = torch.Generator().manual_seed(seed)

    def draw(self, logits: Tensor) -> int:
        """One token from `logits` [V]. Raises ValueError for logits that are no numbers."""
        best = int(logits.argmax())
        if not torch.isfinite(logits[best]):
            raise ValueError("the model's logits are not finite")
        if self._how.temperature == 0:
            return best
        # in double precision, behind the largest: any temperature and any top-p above 0 then have a meaning
        scores = (logits.double().cpu() - logits[best].double().cpu()) / self._how.temperature
        probabilities, tokens = scores.softmax(-1).sort(descending=True, stable=True)
        before = probabilities.cumsum(-1) - probabilities
        kept = probabilities.masked_fill(before >= self._how.top_p, 0.0)  # the likeliest token always stays
        return int(tokens[torch.multinomial(kept, 1, generator=self._generator)])
