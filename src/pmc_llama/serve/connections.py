"""Connections that are slow or many: bounded in number and time, so that they keep nobody else out."""

import logging
import resource
import time
from typing import Any

from uvicorn import Config, Server  # type: ignore[import-not-found,unused-ignore]
from uvicorn.protocols.http.h11_impl import H11Protocol  # type: ignore[import-not-found,unused-ignore]

REQUEST_S = 20.0
"""From the first byte of a request, or from connecting, to its last byte."""
AFTER_DEADLINE_S = 30.0
"""How long a client may take to read its answer after the answer must be ready."""
MOST_CONNECTIONS = 512
FILES_KEPT = 64
"""Open files for anything but connections."""
REPEAT_S = 60.0
"""A message that is repeated is logged once in this time, with how often it came."""
LOOK_EVERY_S = 1.0


def room_for_connections() -> int:
    """How many connections the limit of open files allows, half of it kept for those that the kernel hands over."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(8, min(MOST_CONNECTIONS, (soft - FILES_KEPT) // 2))


class BoundedProtocol(H11Protocol):  # type: ignore[misc,unused-ignore]
    """A connection that must send its request in time and read its answer in time.

    Where there are too many, the one that has been sending its request for longest makes room.
    """

    most = MOST_CONNECTIONS
    answer_s = 120.0
    request_s = REQUEST_S

    def connection_made(self, transport: Any) -> None:
        """Take a connection, or the place of one that has nothing to say."""
        super().connection_made(transport)
        self.since = time.monotonic()
        if len(self.connections) > self.most:
            others: Any = self.connections
            slow = [one for one in others if one.sending and one is not self]
            oldest = min(slow, key=lambda one: one.since, default=self)
            oldest.transport.abort()
            self.connections.discard(oldest)

    @property
    def sending(self) -> bool:
        """Whether its request is not there in full."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    @property
    def late(self) -> bool:
        """Whether it has taken too long for what it is at."""
        allowed = self.request_s if self.sending else self.answer_s + AFTER_DEADLINE_S
        return time.monotonic() - self.since > allowed

    def data_received(self, data: bytes) -> None:
        """Time runs anew once a request is there in full."""
        sending = self.sending
        super().data_received(data)
        if sending and not self.sending:
            self.since = time.monotonic()

    def on_response_complete(self) -> None:
        """Time runs anew for the next request."""
        super().on_response_complete()
        self.since = time.monotonic()


class OncePerMinute(logging.Filter):
    """Lets a message through once in a while, with how often it was said meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log the record."""
        key, now = str(record.msg)[:200], time.monotonic()
        when, kept_back = self._said.get(key, (-REPEAT_S, 0))
        if now - when < REPEAT_S:
            self._said[key] = (when, kept_back + 1)
            return False
        if len(self._said) > 1000:
            self._said.clear()
        self._said[key] = (now, 0)
        if kept_back:
            record.msg = f"{record.msg} ({kept_back} more like this before)"
        return True


class BoundedServer(Server):  # type: ignore[misc,unused-ignore]
    """uvicorn with these bounds."""

    async def on_tick(self, counter: int) -> bool:
        """Ten times per second: end what is late."""
        if counter % 10 == 0:
            for connection in list(self.server_state.connections):
                if getattr(connection, "late", False):
                    connection.transport.abort()
        return bool(await super().on_tick(counter))


def bounded_server(app: Any, host: str, port: int, *, answer_s: float, request_s: float = REQUEST_S) -> BoundedServer:
    """A server for `app` whose answers are ready after `answer_s` seconds at the latest."""
    most = room_for_connections()
    bounds = {"most": most, "answer_s": answer_s, "request_s": request_s}
    protocol = type("Bounded", (BoundedProtocol,), bounds)
    log_to_stderr()
    config = Config(
        app,
        host=host,
        port=port,
        http=protocol,
        ws="none",
        log_level="warning",
        log_config=None,
        backlog=max(8, min(128, most // 2)),
        timeout_keep_alive=5,
        timeout_graceful_shutdown=10,
        server_header=False,
    )
    return BoundedServer(config)


def log_to_stderr() -> None:
    """One line for each request, and each warning once in a while."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    for name in ("pmc_llama.serve.requests", "pmc_llama.serve", "uvicorn", "uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        if name != "pmc_llama.serve.requests":
            logger.addFilter(OncePerMinute())
    logging.getLogger("pmc_llama.serve.requests").setLevel(logging.INFO)
