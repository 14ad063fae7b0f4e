"""A request on its way through the engine: what was asked, what came of it so far, and how it ends."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from pmc_llama.serve.forward import Kept, Part
from pmc_llama.serve.sampling import Sampler, Sampling
from pmc_llama.serve.text import TextStream

SHORT_TOKENS = 256
"""A request of at most so many tokens, prompt and answer together, counts as a short one."""

Finish = Literal["stop", "length", "timeout", "error"]


@dataclass(frozen=True)
class Told:
    """How likely the model found a token in its place."""

    token: int
    logprob: float | None
    """In nats; None for the first token of a text, before which there is nothing."""
    top: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens and their log-probabilities, as many as were asked for."""


@dataclass(frozen=True)
class Piece:
    """A part of an answer. The last one has a `finish`."""

    text: str = ""
    tokens: int = 0
    """Tokens generated so far."""
    finish: Finish | None = None
    told: tuple[Told, ...] = ()
    """Of the tokens since the piece before, where log-probabilities were asked for; first those of an echoed prompt."""


@dataclass(eq=False)
class Job:
    """What is asked. `deliver` is called from the engine's thread with each piece."""

    ids: list[int]
    max_tokens: int
    """0 only with `echo`: nothing is generated."""
    deliver: Callable[[Piece], None]
    sampling: Sampling = field(default_factory=Sampling)
    stops: tuple[str, ...] = ()
    logprobs: int | None = None
    """How many of the likeliest tokens to tell with each token's own log-probability; None for nothing of both."""
    echo: bool = False
    """Whether to tell the log-probabilities of the prompt's tokens as well."""
    deadline_s: float = 0.0
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def tokens(self) -> int:
        """The most tokens that it comes to hold."""
        return len(self.ids) + self.max_tokens

    @property
    def short(self) -> bool:
        """Whether it may pass longer ones."""
        return self.tokens <= SHORT_TOKENS

    @property
    def given_up(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.cancelled.is_set() or time.monotonic() > self.deadline_s


class Running:
    """A request of which some tokens are computed."""

    def __init__(self, job: Job, tokenizer: Any, end_ids: frozenset[int]) -> None:
        self.job, self.kept, self.done = job, Kept(job.tokens), False
        added = tokenizer.get_added_vocab()  # special tokens among them, which no text shows
        self._end_ids = end_ids | {added[stop] for stop in job.stops if stop in added}
        self._stream = TextStream(tokenizer, job.ids, job.stops)
        self._sampler = Sampler(job.sampling)
        self._written: list[int] = []
        self._told: list[Told] = [Told(job.ids[0], None)] if job.echo and job.logprobs is not None else []

    @property
    def unread(self) -> int:
        """Tokens of the prompt that are not computed yet."""
        return max(0, len(self.job.ids) - self.kept.length)

    def part(self, most: int) -> Part:
        """What to compute next: at most `most` tokens of the prompt, or the token written last."""
        at = self.kept.length
        ids = self.job.ids[at : at + most] if self.unread else self._written[-1:]
        return Part(self.kept, ids, [*self.job.ids, *self._written][:at], self.job.echo and self.unread > 0)

    def take(self, logits: Tensor, part: Part) -> None:
        """Go on with the logits of a part. Raises ValueError for logits that are no numbers."""
        if part.all_logits:
            self._tell_prompt(logits, self.kept.length - len(part.ids))
            logits = logits[-1]
        if self.unread:
            return
        if self.job.max_tokens == 0:
            self.end("", "length")
            return
        token = self._sampler.draw(logits)
        self._written.append(token)
        if self.job.logprobs is not None:
            self._told += _tell(logits[None], [token], self.job.logprobs)
        self._step(token)

    def end(self, text: str, finish: Finish) -> None:
        """Hand out the last piece."""
        self.done = True
        self._deliver(text, finish)

    def _step(self, token: int) -> None:
        if token in self._end_ids:
            self.end(self._stream.finish(), "stop")
            return
        text = self._stream.add(token)
        if self._stream.stopped:
            self.end(text, "stop")
        elif len(self._written) >= self.job.max_tokens:
            text += self._stream.finish()
            self.end(text, "stop" if self._stream.stopped else "length")
        elif text:
            self._deliver(text, None)

    def _deliver(self, text: str, finish: Finish | None) -> None:
        told, self._told = tuple(self._told), []
        self.job.deliver(Piece(text, len(self._written), finish, told))

    def _tell_prompt(self, logits: Tensor, start: int) -> None:
        """`logits` [n, V] of the prompt's tokens from `start` on: each tells of the token that comes next."""
        if self.job.logprobs is not None:
            following = self.job.ids[start + 1 : start + 1 + len(logits)]
            self._told += _tell(logits[: len(following)], following, self.job.logprobs)


def _tell(logits: Tensor, tokens: list[int], count: int) -> list[Told]:
    """`logits` [n, V] of n `tokens` -> how likely each was, and the `count` likeliest in its place."""
    logprobs = logits.float().log_softmax(-1)
    top = logprobs.topk(count, -1) if count else None
    found = []
    for i, token in enumerate(tokens):
        likeliest = () if top is None else tuple(zip(top.indices[i].tolist(), top.values[i].tolist(), strict=True))
        found.append(Told(token, float(logprobs[i, token]), likeliest))
    return found
