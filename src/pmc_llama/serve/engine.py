"""One model, one worker thread, one bounded queue: what arrives together is generated together."""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from pmc_llama.errors import PmcLlamaError
from pmc_llama.model.stops import end_ids
from pmc_llama.serve.loading import load_served
from pmc_llama.serve.sampling import RowSampler, Sampling
from pmc_llama.serve.text import TextStream


class Busy(PmcLlamaError):
    """More requests wait than the server keeps."""


@dataclass(frozen=True)
class Limits:
    """What bounds the server's memory and patience."""

    batch: int = 16
    """Requests generated together; with the context length it bounds the memory of keys and values."""
    waiting: int = 512
    """Requests that may wait; the next one is told to come back later."""
    timeout_s: float = 120.0
    """From arrival to the last token."""


@dataclass(frozen=True)
class Piece:
    """A part of an answer. The last one has a `finish`."""

    text: str = ""
    tokens: int = 0
    """Tokens generated so far."""
    finish: Literal["stop", "length", "timeout", "error"] | None = None


@dataclass(eq=False)
class Job:
    """One request on its way. `deliver` is called from the worker's thread with each piece."""

    ids: list[int]
    max_tokens: int
    deliver: Callable[[Piece], None]
    sampling: Sampling = field(default_factory=Sampling)
    stops: tuple[str, ...] = ()
    deadline_s: float = 0.0
    cancelled: threading.Event = field(default_factory=threading.Event)


class Engine:
    """A model with its tokenizer, and the thread that runs it."""

    def __init__(self, folder: Path | str, limits: Limits | None = None) -> None:
        """Load a Hugging Face folder. Raises InputError where it has none."""
        self.model, self.tokenizer = load_served(folder)
        self._end_ids = end_ids(self.model.generation_config.eos_token_id, self.tokenizer)
        # Nothing but these ids may end a row behind our back, and no sampling default of the model's may interfere.
        self.model.generation_config = GenerationConfig(eos_token_id=self._end_ids)
        self.name = Path(folder).resolve().name
        self.context = int(self.model.config.max_position_embeddings)
        self.limits = limits or Limits()
        self._waiting: queue.Queue[Job | None] = queue.Queue(self.limits.waiting)
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Put a job in line. Raises Busy if too many wait already."""
        job.deadline_s = time.monotonic() + self.limits.timeout_s
        try:
            self._waiting.put_nowait(job)
        except queue.Full:
            raise Busy(f"{self.limits.waiting} requests are waiting already: try again in a few seconds") from None

    def close(self) -> None:
        """Finish what is running and end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        closing = False
        while not closing:
            found = [self._waiting.get()]
            while len(found) < self.limits.batch and not self._waiting.empty():
                found.append(self._waiting.get())
            closing = None in found
            self._answer([job for job in found if job is not None and not _dropped(job)])

    def _answer(self, jobs: list[Job]) -> None:
        if not jobs:
            return
        rows = _Rows(self.tokenizer, jobs, frozenset(self._end_ids))
        try:
            self._generate(jobs, rows)
        except Exception as error:  # the server lives on, whatever one batch met (out of memory, for one)
            print(f"generation failed: {error}", flush=True)
            rows.abandon()

    def _generate(self, jobs: list[Job], rows: "_Rows") -> None:
        width = max(len(job.ids) for job in jobs)
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.tokenizer.eos_token_id
        ids = torch.tensor([[pad] * (width - len(job.ids)) + job.ids for job in jobs])  # [B, T]
        mask = torch.tensor([[0] * (width - len(job.ids)) + [1] * len(job.ids) for job in jobs])
        with torch.inference_mode():
            self.model.generate(
                ids.to(self.model.device),
                attention_mask=mask.to(self.model.device),
                max_new_tokens=max(job.max_tokens for job in jobs),
                do_sample=False,
                pad_token_id=pad,
                logits_processor=LogitsProcessorList([RowSampler([job.sampling for job in jobs])]),
                stopping_criteria=StoppingCriteriaList([rows]),
            )


class _Rows(StoppingCriteria):  # type: ignore[misc]
    """Looks at each new token: hands out its text, and ends the rows that are done."""

    def __init__(self, tokenizer: Any, jobs: list[Job], end_ids: frozenset[int]) -> None:
        added = tokenizer.get_added_vocab()  # special tokens among them, which no text shows
        self._jobs = jobs
        self._end_ids = [end_ids | {added[stop] for stop in job.stops if stop in added} for job in jobs]
        self._streams = [TextStream(tokenizer, job.ids, job.stops) for job in jobs]
        self._tokens = [0] * len(jobs)
        self._done = [False] * len(jobs)

    def __call__(self, input_ids: Tensor, scores: Any, **more: Any) -> Tensor:
        """`input_ids` [B, T] -> which rows are done [B]."""
        for i, token in enumerate(input_ids[:, -1].tolist()):
            if not self._done[i]:
                self._step(i, token)
        return torch.tensor(self._done, device=input_ids.device)

    def abandon(self) -> None:
        """Tell the rows that are not done that there will be no more."""
        for i, job in enumerate(self._jobs):
            if not self._done[i]:
                job.deliver(Piece(tokens=self._tokens[i], finish="error"))

    def _step(self, i: int, token: int) -> None:
        job, stream = self._jobs[i], self._streams[i]
        self._tokens[i] += 1
        if token in self._end_ids[i]:
            self._end(i, stream.finish(), "stop")
            return
        text = stream.add(token)
        if stream.stopped:
            self._end(i, text, "stop")
        elif self._tokens[i] >= job.max_tokens:
            self._end(i, text + stream.finish(), "length")
        elif job.cancelled.is_set() or time.monotonic() > job.deadline_s:
            self._end(i, text, "timeout")
        elif text:
            job.deliver(Piece(text, self._tokens[i]))

    def _end(self, i: int, text: str, finish: Literal["stop", "length", "timeout"]) -> None:
        self._done[i] = True
        self._jobs[i].deliver(Piece(text, self._tokens[i], finish))


def _dropped(job: Job) -> bool:
    """Whether a job need not be started: nobody waits for it any more."""
    if job.cancelled.is_set() or time.monotonic() > job.deadline_s:
        job.deliver(Piece(finish="timeout"))
        return True
    return False
