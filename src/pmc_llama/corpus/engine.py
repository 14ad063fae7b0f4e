"""Runs pure functions over work items, on local processes or a Ray cluster; results in the order of the items."""

import itertools
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from pmc_llama.errors import PmcLlamaError
from pmc_llama.recipe.corpus import CorpusSection
from pmc_llama.signals import leave_to_the_first, ready, signals_held

AHEAD_PER_WORKER = 2
"""Calls given out before their results are taken, over all maps of an engine: bounds what waits in memory."""

A = TypeVar("A")
R = TypeVar("R")

_read_bytes: Any = None


def count_read_bytes(count: int) -> None:
    """Add to the number of input bytes read by all processes of the running job."""
    if _read_bytes is not None:
        with _read_bytes.get_lock():
            _read_bytes.value += count


def _share_counter(counter: Any) -> None:
    global _read_bytes  # noqa: PLW0603 - the one thing that processes share
    _read_bytes = counter


def _start_worker(counter: Any) -> None:
    """Make a new process count its bytes, and end when the process that started it is killed.

    An orphan would go on writing files that a resumed run writes too.
    """
    _share_counter(counter)
    leave_to_the_first()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a worker
    parent.join()
    os._exit(1)


def end_workers() -> None:
    """End this process's workers at once: what they have not finished is done again by the next call."""
    children = multiprocessing.active_children()
    for child in children:
        child.terminate()
    for child in children:  # one that is just starting must not find what it was to share with this process gone
        child.join(10)


class Engine(Protocol):
    """Where the work runs."""

    workers: int

    @property
    def read_bytes(self) -> int:
        """Input bytes read so far, as far as the engine can tell."""
        ...

    def map(self, function: Callable[[A], R], arguments: Iterable[A]) -> Iterator[R]:
        """`function` of each argument, in order."""
        ...


def _in_order(
    submit: Callable[[A], Any], result: Callable[[Any], R], arguments: Iterable[A], permits: threading.Semaphore
) -> Iterator[R]:
    """Results in the order of the arguments. A map without a permit waits for one, others go on with what they have."""
    waiting: deque[Any] = deque()
    arguments = iter(arguments)
    exhausted = False
    try:
        while waiting or not exhausted:
            while not exhausted and permits.acquire(blocking=not waiting):
                for argument in itertools.islice(arguments, 1):
                    waiting.append(submit(argument))
                    break
                else:
                    exhausted = True
                    permits.release()
            if waiting:
                value = result(waiting.popleft())
                permits.release()
                yield value
    finally:
        for _ in waiting:
            permits.release()


def _start_method() -> Any:
    """How processes start: from a server that has imported what they need, where the system has that."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pmc_llama.corpus.stage", "pmc_llama.corpus.parts"])
    return context


class LocalEngine:
    """Processes of this machine; with one worker everything runs in the calling process."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._context = _start_method()
        self._counter = self._context.Value("q", 0)
        self._permits = threading.Semaphore(workers * AHEAD_PER_WORKER)
        self._pool: ProcessPoolExecutor | None = None

    @property
    def read_bytes(self) -> int:
        """Input bytes read so far."""
        return int(self._counter.value)

    def __enter__(self) -> Self:
        _share_counter(self._counter)
        if self.workers > 1:
            self._pool = ProcessPoolExecutor(
                self.workers, mp_context=self._context, initializer=_start_worker, initargs=(self._counter,)
            )
            with signals_held():
                self._pool.submit(ready)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _share_counter(None)
        if self._pool is not None:
            self._pool.shutdown(wait=kind is None, cancel_futures=True)
            if kind is not None:
                end_workers()

    def map(self, function: Callable[[A], R], arguments: Iterable[A]) -> Iterator[R]:
        """`function` of each argument, in order; arguments are taken from the iterable as workers become free.

        Raises PmcLlamaError when a worker process died (usually: the machine ran out of memory).
        """
        if self._pool is None:
            yield from map(function, arguments)
            return
        pool = self._pool
        try:
            yield from _in_order(
                lambda argument: pool.submit(function, argument), Future.result, arguments, self._permits
            )
        except BrokenProcessPool as error:
            raise PmcLlamaError(
                "a worker process died, probably because memory ran out; what is finished is kept: "
                "run the same command again with fewer `workers`"
            ) from error


class RayEngine:
    """Tasks of an existing Ray cluster; the run directory and the inputs must be seen by all its nodes."""

    def __init__(self, address: str) -> None:
        try:
            import ray
        except ImportError:
            raise PmcLlamaError("engine: ray needs the extra `ray`: pip install 'pmc-llama[ray]'") from None
        self._ray: Any = ray
        self._address = address
        self._joined = False
        self._permits = threading.Semaphore()
        self.workers = 1
        self.read_bytes = 0

    def __enter__(self) -> Self:
        if not self._ray.is_initialized():
            self._ray.init(address=self._address, log_to_driver=False)
            self._joined = True
        self.workers = int(self._ray.cluster_resources()["CPU"])
        self._permits = threading.Semaphore(self.workers * AHEAD_PER_WORKER)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._joined:
            self._ray.shutdown()

    def map(self, function: Callable[[A], R], arguments: Iterable[A]) -> Iterator[R]:
        """`function` of each argument, in order; arguments are taken from the iterable as tasks finish."""

        def call(argument: A) -> R:  # Ray takes plain functions only, not partials
            return function(argument)

        yield from _in_order(self._ray.remote(call).remote, self._ray.get, arguments, self._permits)


def open_engine(section: CorpusSection, workers: int) -> AbstractContextManager[Engine]:
    """The engine that the recipe names."""
    return RayEngine(section.ray_address) if section.engine == "ray" else LocalEngine(workers)
