"""An OpenAI-compatible server for as long as a benchmark needs it."""

import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

READY_S = 600


@contextmanager
def server(words: Sequence[str], log: Path, *, port: int, threads: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A server that answers; it is ended with its group. Raises TimeoutError if it is not ready after READY_S."""
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": threads}
    with log.open("w") as file:
        process = subprocess.Popen(words, stdout=file, stderr=file, env=environment, start_new_session=True)
        try:
            _wait_until_ready(process, port, log)
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_ready(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        assert process.poll() is None, f"the server ended: see {log}"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5):
                return
        except OSError:
            time.sleep(1)
    raise TimeoutError(f"the server is not ready after {READY_S} s: see {log}")
