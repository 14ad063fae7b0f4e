"""How a call ends that is told to: every stage stops with one sentence, and an exit status that says why."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pmc_llama.errors import INTERRUPTED, STOPPED, Stopped
from pmc_llama.signals import STOPPING


@contextmanager
def stops_cleanly() -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGUSR1 into Stopped. Training takes them over to save a checkpoint first.

    Only the main thread can catch signals; elsewhere nothing is caught.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _stop) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends at once
    status = INTERRUPTED if number == signal.SIGINT else STOPPED
    name = "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"
    raise Stopped(f"{name}; what is finished is kept, and the same command goes on", status)
