"""One HTTP download: resumed after a cut, retried with growing pauses, checked, and only then given its name."""

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pmc_llama.errors import InputError

ATTEMPTS = 8
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 120.0
TIMEOUT_S = 60.0
CHUNK_BYTES = 2**20
EXPIRED = (400, 401, 403, 404, 410)
"""What a store answers to a signed link that is no longer valid."""
BUSY = (408, 429, 500, 502, 503, 504)
CUT = (OSError, http.client.HTTPException)  # URLError, timeouts and resets are OSErrors


R = TypeVar("R")


class _Again(Exception):
    """Try once more, after a pause of the server's choosing if it named one."""

    def __init__(self, reason: str, pause_s: float | None = None) -> None:
        super().__init__(reason)
        self.pause_s = pause_s


def get(url: str, headers: dict[str, str] | None = None, sleep: Callable[[float], None] = time.sleep) -> bytes:
    """The body of a small answer. Raises InputError after several attempts, at once for an answer that stays so."""

    def once() -> bytes:
        with _open(url, headers or {}) as answer:
            return bytes(answer.read())

    return _repeat(once, url, sleep)


def fetch(
    link: Callable[[], str],
    target: Path,
    *,
    md5: str | None = None,
    on_bytes: Callable[[int], None] = lambda count: None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Download to `target`, which appears only when it is whole and flushed to disk.

    `link` gives the address and is asked again after each failure, as signed links expire. What a cut connection left
    is continued, also by a later call. Raises InputError when all attempts failed or the content has another MD5.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")

    def once() -> None:
        _append(link(), partial, on_bytes)
        if md5 is not None and (found := _md5(partial)) != md5:
            partial.unlink()
            raise _Again(f"its MD5 is {found}, not {md5}")

    _repeat(once, target.name, sleep, expired=True)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(target)


def _append(url: str, partial: Path, on_bytes: Callable[[int], None]) -> None:
    """Write the answer behind what is there already, or over it where the server does not continue."""
    have = partial.stat().st_size if partial.exists() else 0
    try:
        answer = _open(url, {"Range": f"bytes={have}-"} if have else {})
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is left, or the partial file is of something else
            total = (error.headers.get("Content-Range") or "").rpartition("/")[2]
            if total == str(have):
                return
            partial.unlink()
            raise _Again("the part on disk is longer than the file") from error
        raise
    with answer:
        continued = answer.status == 206
        expected = answer.headers.get("Content-Length")
        received = 0
        with partial.open("ab" if continued else "wb") as file:
            while chunk := answer.read(CHUNK_BYTES):
                file.write(chunk)
                received += len(chunk)
                on_bytes(len(chunk))
        if expected is not None and received < int(expected):
            raise _Again(f"the connection ended after {received} of {expected} bytes")


def _open(url: str, headers: dict[str, str]) -> Any:
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)


def _repeat(once: Callable[[], R], what: str, sleep: Callable[[float], None], expired: bool = False) -> R:
    reason = ""
    for attempt in range(ATTEMPTS):
        pause_s: float | None = None
        try:
            return once()
        except _Again as again:
            reason, pause_s = str(again), again.pause_s
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code} {error.reason}"
            pause_s = _retry_after(error)
            if error.code not in BUSY and not (expired and error.code in EXPIRED):
                break
        except CUT as error:
            reason = str(error) or type(error).__name__
        if attempt + 1 < ATTEMPTS:
            sleep(min(pause_s if pause_s is not None else FIRST_PAUSE_S * 2**attempt, LONGEST_PAUSE_S))
    raise InputError(f"{what.partition('?')[0]}: could not be downloaded ({reason})")


def _retry_after(error: urllib.error.HTTPError) -> float | None:
    value = error.headers.get("Retry-After") if error.headers else None
    return float(value) if value and value.isdigit() else None


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
