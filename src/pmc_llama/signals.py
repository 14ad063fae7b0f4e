"""Signals that wait while something is started that must not be left half started."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""What asks a call to end."""


@contextmanager
def signals_held() -> Iterator[None]:
    """Deliver signals that come within the block at its end. Only the main thread gets any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def remember(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    before = {number: signal.signal(number, remember) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            os.kill(os.getpid(), came[0])


def leave_to_the_first() -> None:
    """In a worker: Ctrl-C reaches all processes of a terminal, and the one that started them decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def ready() -> None:
    """A worker's first call, which it is started for."""
