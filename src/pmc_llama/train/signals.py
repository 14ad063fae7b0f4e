"""Stopping a run from outside, so that it can go on later."""

import math
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

from pmc_llama.errors import INTERRUPTED, STOPPED

CAUGHT = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopFlag:
    """Remembers that a signal or the time limit asks to stop, for the loop to see between steps.

    A second SIGINT interrupts at once.

    Handlers can be installed by the main thread only; elsewhere nothing is caught. They are restored at the end.
    """

    def __init__(self, time_limit_s: float | None = None) -> None:
        self._signalled: int | None = None
        self._deadline_s = math.inf if time_limit_s is None else time.monotonic() + time_limit_s
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._remember) for number in CAUGHT}
        return self

    @property
    def asked(self) -> bool:
        """Whether to stop after the present step."""
        return self._signalled is not None or time.monotonic() > self._deadline_s

    @property
    def status(self) -> int:
        """Exit status that says why: of an interruption by hand, else of one that a batch system asked for."""
        return INTERRUPTED if self._signalled == signal.SIGINT else STOPPED

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        self._signalled = number
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
