"""Chat templates, which are programs of a model's maker: run apart, with a bound on time, memory and what they write.

transformers runs them in a sandbox that keeps them from the machine. A loop without end, or a text of gigabytes, is no
breach of a sandbox, so templates run in a process of their own, which the system ends.
"""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pmc_llama.errors import InputError

TIME_S = 5.0
"""For one conversation. Templates take well under a millisecond."""
MEMORY_BYTES = 2**29
"""Beyond what the process has when it is ready."""
MOST_CHARS = 2**23
"""Of what a template writes."""

_LOCK = threading.Lock()
_process: "subprocess.Popen[str] | None" = None


def render(template: str, messages: Sequence[Mapping[str, str]], tokens: Mapping[str, Any]) -> str:
    """The messages in a chat template that knows the special `tokens`, up to where the model is to answer.

    Raises InputError where the template refuses them, or goes beyond the bounds.
    """
    given = json.dumps({"template": template, "messages": list(messages), "tokens": tokens, "limits": _limits()})
    with _LOCK:
        answer = _asked(given)
    if answer is None:
        raise InputError(
            f"the chat template was ended: it took more than {TIME_S:g} s for one conversation, or too much memory"
        )
    told = json.loads(answer)
    if "error" in told:
        raise InputError(f"the chat template cannot be used: {told['error']}")
    return str(told["text"])


def _limits() -> dict[str, float]:
    return {"time_s": TIME_S, "memory_bytes": MEMORY_BYTES, "chars": MOST_CHARS}


def _asked(given: str) -> str | None:
    """The answer of the process, which is started where there is none; None where it ended over the question."""
    global _process  # noqa: PLW0603 - one process, as starting it takes a second
    if _process is None or _process.poll() is not None:
        _process = _started()
    assert _process.stdin is not None and _process.stdout is not None
    with suppress(OSError):
        _process.stdin.write(given + "\n")
        _process.stdin.flush()
        if answer := _process.stdout.readline():
            return answer
    _process.wait()
    _process = None
    return None


def _started() -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", __name__]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="ascii")
    assert process.stdout is not None
    if not process.stdout.readline():
        raise InputError("the process that runs chat templates cannot be started")
    return process


def _serve() -> None:
    """Answer one line after another until the other side ends. What is too slow is ended by the system's alarm."""
    from transformers.utils.chat_template_utils import render_jinja_template

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    out, sys.stdout = sys.stdout, sys.stderr
    print("ready", file=out, flush=True)
    bounded = False
    for line in sys.stdin:
        asked = json.loads(line)
        limits = asked["limits"]
        bounded = bounded or _bound_memory(int(limits["memory_bytes"]))
        signal.setitimer(signal.ITIMER_REAL, limits["time_s"])
        try:
            [text], _ = render_jinja_template(
                conversations=[asked["messages"]],
                chat_template=asked["template"],
                add_generation_prompt=True,
                **asked["tokens"],
            )
            if len(text) > limits["chars"]:
                raise ValueError(f"it writes {len(text):,} characters")
            told = {"text": text}
        except (Exception, MemoryError, RecursionError) as error:
            told = {"error": str(error)[:500] or type(error).__name__}
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps(told), file=out, flush=True)


def _bound_memory(more_bytes: int) -> bool:
    """Let this process have so much more memory than it has, where the system can say how much that is."""
    import resource

    from psutil import Process

    most = Process().memory_info().vms + more_bytes
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    return True


if __name__ == "__main__":
    _serve()
