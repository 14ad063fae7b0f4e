"""What all HTTP endpoints share: the token, bodies that are checked, errors that are sentences, one log line each."""

import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from pydantic import ValidationError
from starlette.exceptions import HTTPException  # type: ignore[import-not-found,unused-ignore]
from starlette.middleware import Middleware  # type: ignore[import-not-found,unused-ignore]
from starlette.middleware.trustedhost import TrustedHostMiddleware  # type: ignore[import-not-found,unused-ignore]
from starlette.requests import ClientDisconnect, Request  # type: ignore[import-not-found,unused-ignore]
from starlette.responses import JSONResponse, Response  # type: ignore[import-not-found,unused-ignore]

from pmc_llama.errors import InputError
from pmc_llama.serve.answers import Choice
from pmc_llama.serve.engine import Busy
from pmc_llama.serve.protocol import error_body, explain

LOG = logging.getLogger("pmc_llama.serve.requests")
MAX_BODY_BYTES = 1 << 20
LOOPBACK = ["127.0.0.1", "localhost", "[::1]", "::1"]

Endpoint = Callable[[Request], Awaitable[Response]]


class NotFound(HTTPException):  # type: ignore[misc,unused-ignore]
    """A model that is not served here."""

    def __init__(self, message: str) -> None:
        super().__init__(404, message)


def guarded(endpoint: Endpoint, token: str | None) -> Endpoint:
    """The endpoint behind the token, if there is one."""

    async def checked(request: Request) -> Response:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        known = hmac.compare_digest(given.strip().encode(), (token or "").encode()) and kind.lower() == "bearer"
        if token and not known:
            raise HTTPException(401, "this server needs its token: send `Authorization: Bearer <token>`")
        return await endpoint(request)

    return checked


def protections(token: str | None) -> list[Middleware]:
    """A log line for each request, and without a token only those that are addressed to this machine by loopback names.

    No web page can then reach the model through a name of its own that points here.
    """
    hosts = [] if token else [Middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK)]
    return [Middleware(_Logged), *hosts]


class _Logged:
    """Writes one line for each request: what was asked, the status, the tokens and the seconds."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status, scope["tokens"] = time.monotonic(), 0, ""

        async def noted(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            path = (
                scope["path"].encode("unicode_escape", "replace").decode()[:100]
            )  # no line breaks, nothing for terminals
            spent = time.monotonic() - begun
            LOG.info("%s %s %s%s %.2f s", scope["method"][:10], path, status or "hung up", scope["tokens"], spent)


def tokens_for_log(request: Request, choices: Sequence[Choice]) -> None:
    """Let the request's log line tell the tokens."""
    read, written = sum(one.prompt_tokens for one in choices), sum(one.tokens for one in choices)
    request.scope["tokens"] = f" {read}+{written} tokens"


async def read_body(request: Request, kind: type[Any]) -> Any:
    """The request's body, checked. Raises a 4xx with a sentence."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "the body must be JSON: send `Content-Type: application/json`")
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY_BYTES:
                raise HTTPException(413, f"the body is larger than {MAX_BODY_BYTES:,} bytes")
    except ClientDisconnect:
        raise HTTPException(400, "the connection ended before the body did") from None
    try:
        value = msgspec.json.decode(bytes(body))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HTTPException(400, f"the body is not valid JSON: {error}") from None
    except RecursionError:
        raise HTTPException(400, "the body is nested too deeply") from None
    if not isinstance(value, dict):
        raise HTTPException(400, f"the body must be a JSON object, not {type(value).__name__}")
    try:
        return kind.model_validate({name: item for name, item in value.items() if item is not None})
    except ValidationError as error:
        raise HTTPException(400, explain(error)) from None


async def _as_error(request: Request, error: Any) -> Response:
    kind = "invalid_request_error" if error.status_code < 500 else "server_error"
    code = "model_not_found" if isinstance(error, NotFound) else None
    return JSONResponse(error_body(_encodable(str(error.detail)), kind, code), error.status_code, headers=error.headers)


async def _as_busy(request: Request, error: Any) -> Response:
    return JSONResponse(error_body(str(error), "overloaded_error"), 503, headers={"Retry-After": "5"})


async def _as_too_much(request: Request, error: Any) -> Response:
    return JSONResponse(error_body(_encodable(str(error))), 400)


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


ERRORS: dict[Any, Any] = {HTTPException: _as_error, Busy: _as_busy, InputError: _as_too_much}
