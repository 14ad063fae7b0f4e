"""One model, one worker thread: requests join and leave between the steps of generation, within a bound of memory."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch
from torch import Tensor

from pmc_llama.errors import InputError, PmcLlamaError
from pmc_llama.model.stops import end_ids
from pmc_llama.serve.forward import Forward, Part
from pmc_llama.serve.jobs import Job, Piece, Running
from pmc_llama.serve.loading import Dtype, load_served

LOG = logging.getLogger("pmc_llama.serve")
MEMORY_SHARE = 0.3
"""Of the memory that is free when the model is loaded, for what is kept of tokens."""
READ_AT_ONCE = 512
"""Tokens of prompts computed in one step where nobody waits for a next token."""
READ_BESIDE = 32
"""The same where somebody does."""
LOOKED_BACK_AT = 8192
"""Tokens that long requests look back at in one step beside short ones; the rest of them wait for the next step."""

T = TypeVar("T")


class Busy(PmcLlamaError):
    """More requests wait than the server keeps."""


@dataclass(frozen=True)
class Limits:
    """What bounds the server's memory and patience."""

    batch: int = 16
    """Requests that are generated at the same time."""
    waiting: int = 512
    """Requests that may wait; the next one is told to come back later."""
    timeout_s: float = 120.0
    """From arrival to the last token."""
    memory_bytes: int | None = None
    """What is kept of the tokens of all running requests; None for a share of the memory that is free at the start."""


class Engine:
    """A model with its tokenizer, and the thread that runs it.

    A quarter of the rows and of the memory is kept free of long requests, and a quarter of short ones, so that neither
    kind waits for the other to end.
    """

    def __init__(self, folder: Path | str, limits: Limits | None = None, dtype: Dtype = "auto") -> None:
        """Load a Hugging Face folder or hub id. Raises InputError where there is none that can be served."""
        self.model, self.tokenizer = load_served(folder, dtype)
        self._end_ids = frozenset(end_ids(self.model.generation_config.eos_token_id, self.tokenizer))
        self.name = Path(folder).resolve().name
        self.names = {self.name, str(folder)}
        self.context = int(self.model.config.max_position_embeddings)
        self.limits = limits or Limits()
        self._forward = Forward(self.model)
        free = free_bytes(self.model.device) * MEMORY_SHARE if self.limits.memory_bytes is None else 0
        self.room_tokens = int((self.limits.memory_bytes or free) // self._forward.token_bytes)
        """Tokens of all running requests together."""
        self.token_bytes = self._forward.token_bytes
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._work: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._running: list[Running] = []
        self._closing, self._steps = False, 0
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    def submit(self, *jobs: Job) -> None:
        """Put jobs in line, all or none. Raises Busy if too many wait, and InputError for one that will never fit."""
        most = max(job.tokens for job in jobs)
        if most > _share(self.room_tokens):
            raise InputError(
                f"prompt and answer may come to {most} tokens, and the server has memory for {_share(self.room_tokens)}"
            )
        with self._changed:
            if len(self._waiting) + len(jobs) > self.limits.waiting:
                raise Busy(f"{len(self._waiting)} requests are waiting already: try again in a few seconds")
            for job in jobs:
                job.deadline_s = time.monotonic() + self.limits.timeout_s
            self._waiting += jobs
            self._changed.notify()

    def between_steps(self, work: Callable[[], T]) -> T:
        """Call `work` on the engine's thread, with the model as transformers has it, and wait for what it returns."""
        result: Future[T] = Future()
        with self._changed:
            self._work.append((work, result))
            self._changed.notify()
        return result.result()

    def close(self) -> None:
        """Finish what is there and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        with torch.inference_mode():
            while self._admit():
                for _ in range(len(self._work)):
                    self._do(*self._work.popleft())
                self._drop()
                self._step()

    def _do(self, work: Callable[[], Any], result: "Future[Any]") -> None:
        try:
            result.set_result(self._forward.plainly(work))
        except Exception as error:  # it belongs to who asked
            result.set_exception(error)

    def _admit(self) -> bool:
        """Begin what there is room for; waits while there is nothing to do. False when the engine is to end."""
        with self._changed:
            while not (self._waiting or self._running or self._work or self._closing):
                self._changed.wait()
            left: deque[Job] = deque()
            full: set[bool] = set()  # kinds of which one waits: none of them passes another
            for job in self._waiting:
                if job.given_up:
                    job.deliver(Piece(finish="timeout"))
                elif job.short in full or not self._fits(job):
                    full.add(job.short)
                    left.append(job)
                else:
                    self._begin(job)
            self._waiting = left
            return bool(self._waiting or self._running or self._work or not self._closing)

    def _begin(self, job: Job) -> None:
        try:
            self._running.append(Running(job, self.tokenizer, self._end_ids))
        except Exception as error:
            LOG.error("a request could not be begun: %s", error)
            job.deliver(Piece(finish="error"))

    def _fits(self, job: Job) -> bool:
        """Whether a job can begin beside all that run and, within its kind's share, beside those of its kind."""
        alike = [one.job.tokens for one in self._running if one.job.short == job.short]
        held = sum(one.job.tokens for one in self._running)
        room = len(self._running) < self.limits.batch and held + job.tokens <= self.room_tokens
        in_share = sum(alike) + job.tokens <= _share(self.room_tokens)
        return room and in_share and len(alike) < _share(self.limits.batch)

    def _drop(self) -> None:
        for one in self._running:
            if one.job.given_up:
                one.end("", "timeout")
        self._running = [one for one in self._running if not one.done]

    def _step(self) -> None:
        chosen = self._chosen()
        if not chosen:
            return
        self._steps += 1
        for (one, part), logits in zip(chosen, self._computed([part for _, part in chosen]), strict=True):
            try:
                if isinstance(logits, Exception):
                    raise logits
                one.take(logits, part)
            except Exception as error:  # of this request alone; the others and the server live on
                LOG.error("a request failed: %s", error)
                one.end("", "error")
        self._running = [one for one in self._running if not one.done]

    def _computed(self, parts: list[Part]) -> list[Tensor | Exception]:
        """Logits of the parts; where all together fail (a bad token, too little memory), each is tried alone."""
        try:
            return list(self._forward(parts))
        except Exception as error:
            if len(parts) == 1:
                return [error]
            return [self._computed([part])[0] for part in parts]

    def _chosen(self) -> list[tuple[Running, Part]]:
        """What the next step computes: next tokens, and as much of prompts as lets nobody wait long."""
        writing = [one for one in self._running if not one.unread]
        reading = [one for one in self._running if one.unread]
        short = any(one.job.short for one in self._running)
        chosen, looked = [], 0
        turned = self._steps % len(writing) if writing else 0
        for one in sorted([*writing[turned:], *writing[:turned]], key=lambda one: not one.job.short):
            if not one.job.short:
                if short and looked and looked + one.kept.length > LOOKED_BACK_AT:
                    continue
                looked += one.kept.length
            chosen.append((one, one.part(1)))
        if self._steps % 2 == 0:  # in every other step the one that came first, so that none starves
            reading.sort(key=lambda one: (not one.job.short, one.unread))
        most = READ_BESIDE if writing or short else READ_AT_ONCE
        for one in reading:
            count = one.unread if self._forward.fixed_up_to is not None else min(most, one.unread)
            if most > 0 and count:
                chosen.append((one, one.part(count)))
                most -= count
        return chosen


def _share(whole: int) -> int:
    """What one kind of requests, short or long, may have of the whole."""
    return max(1, whole - whole // 4)


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)
