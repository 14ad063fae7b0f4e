"""What all HTTP endpoints share: the token, bodies that are checked, errors that are sentences."""

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from pydantic import ValidationError
from starlette.exceptions import HTTPException  # type: ignore[import-not-found,unused-ignore]
from starlette.middleware import Middleware  # type: ignore[import-not-found,unused-ignore]
from starlette.middleware.trustedhost import TrustedHostMiddleware  # type: ignore[import-not-found,unused-ignore]
from starlette.requests import Request  # type: ignore[import-not-found,unused-ignore]
from starlette.responses import JSONResponse, Response  # type: ignore[import-not-found,unused-ignore]

from pmc_llama.serve.engine import Busy
from pmc_llama.serve.protocol import error_body, explain

MAX_BODY_BYTES = 1 << 20
LOOPBACK = ["127.0.0.1", "localhost", "[::1]", "::1"]

Endpoint = Callable[[Request], Awaitable[Response]]


def guarded(endpoint: Endpoint, token: str | None) -> Endpoint:
    """The endpoint behind the token, if there is one."""

    async def checked(request: Request) -> Response:
        given = request.headers.get("authorization", "")
        if token and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise HTTPException(401, "this server needs its token: send `Authorization: Bearer <token>`")
        return await endpoint(request)

    return checked


def protections(token: str | None) -> list[Middleware]:
    """Without a token, only requests addressed to this machine by its loopback names are answered.

    No web page can then reach the model through a name of its own that points here.
    """
    return [] if token else [Middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK)]


async def read_body(request: Request, kind: type[Any]) -> Any:
    """The request's body, checked. Raises a 4xx with a sentence."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "the body must be JSON: send `Content-Type: application/json`")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body is larger than {MAX_BODY_BYTES:,} bytes")
    try:
        value = msgspec.json.decode(bytes(body))
    except msgspec.DecodeError as error:
        raise HTTPException(400, f"the body is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise HTTPException(400, f"the body must be a JSON object, not {type(value).__name__}")
    try:
        return kind.model_validate({name: item for name, item in value.items() if item is not None})
    except ValidationError as error:
        raise HTTPException(400, explain(error)) from None


async def _as_error(request: Request, error: Any) -> Response:
    kind = "invalid_request_error" if error.status_code < 500 else "server_error"
    return JSONResponse(error_body(str(error.detail), kind), error.status_code, headers=error.headers)


async def _as_busy(request: Request, error: Any) -> Response:
    return JSONResponse(error_body(str(error), "overloaded_error"), 503, headers={"Retry-After": "5"})


ERRORS: dict[Any, Any] = {HTTPException: _as_error, Busy: _as_busy}
