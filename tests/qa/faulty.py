"""A small server with OpenAI's API, with whatever faults a test wants; it remembers all that it was asked."""

import json
import math
import socket
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Tokens = list[tuple[str, float]]
"""Each token and its log-probability after all before it."""


def words(text: str) -> list[str]:
    """A tokenizer: each word with the blank before it."""
    return [f" {word}" for word in text.split()]


def logprob(prefix: list[str], token: str) -> float:
    """A model: some number below 0 for each token after each beginning."""
    return -1 - (zlib.crc32("".join([*prefix, token]).encode()) % 9973) / 1000


class Faulty:
    """What the server can do, and what became of it."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        """The bodies of all requests that were answered with 200, with `path`."""
        self.headers: list[dict[str, str]] = []
        self.faults: deque[str] = deque()
        """One a request: a status, a status and Retry-After as `429 1`, `cut`, `slow`, `no json`, `half`."""
        self.times: list[float] = []
        self.models = ["one"]
        self.echoes = self.completes = self.counts = True
        self.first: list[tuple[str, float]] | None = None
        """The likeliest first tokens of a chat; None: they are not offered."""
        self.refuses: Callable[[dict[str, Any]], str | None] = lambda body: None
        self.says = "The answer is B."
        self.delay_s = 0.0
        self.other_form = False
        """Log-probabilities look as no client of OpenAI's expects them."""
        self.running = self.most_running = 0
        self.lock = threading.Lock()

    @property
    def prompts(self) -> list[str]:
        """All texts that were asked with success."""
        return [body.get("prompt") or body["messages"][0]["content"] for body in self.asked]


@contextmanager
def serving(state: Faulty, port: int = 0) -> Iterator[str]:
    """The server, at a URL without `/v1`."""

    class Handler(_Handler):
        faulty = state

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


class _Handler(BaseHTTPRequestHandler):
    faulty: Faulty
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._say(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in self.faulty.models]})

    def do_POST(self) -> None:
        state = self.faulty
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with state.lock:
            state.times.append(time.monotonic())
            state.headers.append({name.lower(): value for name, value in self.headers.items()})
            fault = state.faults.popleft() if state.faults else ""
        if fault:
            self._fail(fault)
            return
        with state.lock:
            state.running += 1
            state.most_running = max(state.most_running, state.running)
        time.sleep(state.delay_s)
        with state.lock:
            state.running -= 1
        why = state.refuses(body)
        if self.path == "/v1/completions" and not state.completes:
            why = "this is a chat model"
        if why is not None:
            self._say(404 if not state.completes else 400, {"error": {"message": why}})
            return
        with state.lock:
            state.asked.append(body | {"path": self.path})
        self._say(200, _completion(state, body) if self.path == "/v1/completions" else _chat(state, body))

    def _fail(self, fault: str) -> None:
        match fault.split():
            case ["slow"]:
                time.sleep(1.5)
                self._say(200, {"choices": []})
            case ["cut"]:
                self._hang_up()
            case ["half"]:
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b'{"choices": [')
                self._hang_up()
            case ["no", "json"]:
                self._say(200, "<html>")
            case [status, wait]:
                self._say(int(status), {"error": {"message": "later"}}, {"Retry-After": wait})
            case [status]:
                self._say(int(status), {"error": {"message": "broken"}}, {"retry-after-ms": "1"})

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _say(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        content = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        try:
            self.send_response(status)
            for name, text in {"Content-Length": str(len(content)), **(headers or {})}.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(content)
        except OSError:  # the client did not wait
            self.close_connection = True


def _completion(state: Faulty, body: dict[str, Any]) -> dict[str, Any]:
    prompt, written = words(body["prompt"]), [" word"]
    shown = [*prompt, *written] if body.get("echo") and state.echoes else written
    start = len(prompt) - (len(shown) - len(written))
    every = [*prompt, *written]
    logprobs = [None if i == 0 else logprob(every[:i], every[i]) for i in range(start, len(every))]
    listed = {"token_logprobs": logprobs, "top_logprobs": [{} if one is None else {"x": one} for one in logprobs]}
    choice = {"text": state.says, "logprobs": listed if body.get("logprobs") is not None else None}
    choice |= {"logprobs": {"token_logprobs": "-1 -2", "top_logprobs": 3}} if state.other_form else {}
    return _counted(state, choice, len(prompt), 5)


def _chat(state: Faulty, body: dict[str, Any]) -> dict[str, Any]:
    choice: dict[str, Any] = {"message": {"role": "assistant", "content": state.says}, "logprobs": None}
    if body.get("logprobs") and state.first is not None:
        listed = [{"token": token, "logprob": math.log(share)} for token, share in state.first]
        choice["logprobs"] = {"content": [{"token": "x", "logprob": 0.0, "top_logprobs": listed}]}
    return _counted(state, choice, len(words(body["messages"][0]["content"])), 5)


def _counted(state: Faulty, choice: dict[str, Any], read: int, wrote: int) -> dict[str, Any]:
    usage = {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}
    return {"choices": [{"index": 0, "finish_reason": "stop", **choice}], "usage": usage if state.counts else None}
