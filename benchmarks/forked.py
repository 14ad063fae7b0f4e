"""Processes of a benchmark: forked from this one, and finding each other as under torchrun."""

import os
import socket
import traceback
from collections.abc import Callable


def fork(count: int, work: Callable[[int], int | None]) -> list[int]:
    """Start `work(rank)` in `count` processes; their ids. What it returns, None being 0, is the process's exit code."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1]), "WORLD_SIZE": str(count)}
    children = []
    for rank in range(count):
        child = os.fork()
        if child:
            children.append(child)
            continue
        os.environ.update(place, RANK=str(rank))
        code = 1
        try:
            code = work(rank) or 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return children


def wait(children: list[int]) -> list[int]:
    """Exit codes of all, once they have ended; minus the signal's number of one that was killed."""
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
