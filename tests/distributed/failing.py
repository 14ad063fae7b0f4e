"""Processes of one run of which one fails, each ending as programs end: `python failing.py OUT raises killed stuck`.

Prints a line a way to fail: of each process the exit status (negative: the signal), and how many seconds after the
failure it ended.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import torch

from distributed.worker import place_of_meeting
from pmc_llama.train import world
from pmc_llama.train.batches import Rows
from train.tiny import Source, run

PROCESSES, AT = 3, 3


class Failing(Source):
    """The second process fails while rows are fetched; `stuck` has a thread besides that waits for what never comes."""

    def __init__(self, how: str, out: Path) -> None:
        super().__init__(steps=500)
        self.how, self.out = how, out

    def rows(self, step: int, rank: int = 0, size: int = 1) -> Rows:
        if step == AT and rank == 1:
            (self.out / "failed").write_text(repr(time.time()))
            if self.how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "stuck":
                threading.Thread(target=threading.Event().wait).start()
            raise ValueError("rows that cannot be read")
        return super().rows(step, rank, size)


def end_all(how: str, out: Path) -> list[tuple[int, float]] | None:
    """Exit status and seconds since the failure of each process; None in these processes themselves."""
    meeting, children = place_of_meeting(), {}
    for rank in range(PROCESSES):
        child = os.fork()
        if not child:
            os.environ.update(meeting, RANK=str(rank), WORLD_SIZE=str(PROCESSES))
            run(out / "run", Failing(how, out))
            return None
        children[child] = rank
    ended = {}
    for _ in range(PROCESSES):
        child, status = os.wait()
        since = time.time() - float((out / "failed").read_text())
        ended[children[child]] = (os.waitstatus_to_exitcode(status), since)
    return [ended[rank] for rank in range(PROCESSES)]


def main() -> None:
    torch.set_num_threads(1)
    world.ENDED_WITHIN_S = 3.0
    for how in sys.argv[2:]:
        out = Path(sys.argv[1]) / how
        out.mkdir()
        ended = end_all(how, out)
        if ended is None:
            return
        print(json.dumps([how, ended]), flush=True)


if __name__ == "__main__":
    main()
