"""Requests to a server with OpenAI's API: its answers as types, tries, tokens counted, and a key that is never shown.

The `openai` library sends a request again after 408, 409, 429, 5xx, a cut connection and a time-out; it waits as long
as `Retry-After` says, up to two minutes, else 0.5 s, doubled from try to try.
"""

import os
import re
import threading
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from pmc_llama.errors import InputError
from pmc_llama.qa.backends.endpoint_shapes import ChatAnswer, ModelList, Served, TextAnswer, Usage
from pmc_llama.recipe.models import ModelSection

TRIES = 8
"""Times that a request is sent again before it counts as failed."""
GO_ON = "what was answered is kept, and the same command goes on"
_VERSION = re.compile(r"v\d\w*")
_SHOWN_CHARS = 300

T = TypeVar("T")


class Refused(Exception):
    """The server will not do this (400, 404, 422, 501 …), however often it is asked."""


class Budget:
    """What may be spent. Requests under way count as the dearest one so far, so that a cap is not overrun by many."""

    def __init__(self, section: ModelSection) -> None:
        self._section, self._lock, self._thread = section, threading.Lock(), threading.local()
        self.spent = Usage()
        self._dearest, self._running = Usage(), 0

    @property
    def capped(self) -> bool:
        """Whether there is a cap at all."""
        return self._section.max_tokens_total is not None or self._section.max_cost is not None

    def begin(self) -> None:
        """A request is about to be sent. Raises InputError where it could pass a cap."""
        with self._lock:
            ahead = self._running + 1
            expected = Usage(self._dearest.prompt_tokens * ahead, self._dearest.completion_tokens * ahead)
            self._refuse_beyond(self.spent + expected)
            self._running += 1

    def end(self, used: Usage) -> None:
        """A request is over."""
        with self._lock:
            self._running -= 1
        self._thread.spent = self.spent_here + used
        self.add(used)

    def add(self, used: Usage) -> None:
        """So much was spent, now or by an earlier call whose answers are taken."""
        with self._lock:
            self.spent = self.spent + used
            self._dearest = max(self._dearest, used, key=lambda one: one.total)

    @property
    def spent_here(self) -> Usage:
        """What this thread's requests cost so far."""
        return getattr(self._thread, "spent", Usage())

    def cost(self, used: Usage) -> float:
        """What tokens cost, in the currency of the prices."""
        price_in, price_out = self._section.price_in or 0.0, self._section.price_out or 0.0
        return (used.prompt_tokens * price_in + used.completion_tokens * price_out) / 1e6

    def _refuse_beyond(self, used: Usage) -> None:
        section = self._section
        said = f"{section.endpoint}: {self.spent.total:,} tokens were read and written"
        if section.max_tokens_total is not None and used.total > section.max_tokens_total:
            raise InputError(
                f"{said}, and the next answer could pass max_tokens_total: {section.max_tokens_total:,}; raise it to "
                f"go on: {GO_ON}"
            )
        if section.max_cost is not None and self.cost(used) > section.max_cost:
            raise InputError(
                f"{said} for {self.cost(self.spent):.4f}, and the next answer could pass max_cost: "
                f"{section.max_cost:g}; raise it to go on: {GO_ON}"
            )


class Client:
    """One model of a server. Many threads may ask it."""

    def __init__(self, section: ModelSection) -> None:
        """Raises InputError where the library or the key is not there."""
        try:
            import openai
        except ImportError:
            raise InputError(
                "models with `endpoint` need the extra `endpoint`: pip install 'pmc-llama[endpoint]'"
            ) from None
        assert section.endpoint is not None
        self._openai, self._section, self.url = openai, section, base_url(section.endpoint)
        self._key = _key(section.key_env)
        foreign = urlsplit(self.url).hostname != "api.openai.com"
        nobody: dict[str, Any] = {"OpenAI-Organization": openai.Omit(), "OpenAI-Project": openai.Omit()}
        self._ai = openai.OpenAI(
            base_url=self.url,
            api_key=self._key or "none",  # else the library would send what OPENAI_API_KEY holds to any server
            timeout=section.timeout_s,
            max_retries=TRIES,
            default_headers=nobody if foreign else None,
        )
        self.budget = Budget(section)
        self._named: Served | None = None
        self._naming = threading.Lock()
        self.completes = self.chats_only = False  # what was learned of `/completions`
        self.limit = "max_tokens"

    @property
    def model_name(self) -> str | None:
        """The model's name there, as far as it is known without asking."""
        return self._section.model if self._named is None else self._named.id

    @property
    def served(self) -> Served:
        """The model as the server names it; asked for once.

        Raises InputError where `model` is not given and the server has not exactly one.
        """
        with self._naming:
            if self._named is None:
                self._named = self._asked_for()
        return self._named

    def _asked_for(self) -> Served:
        wanted = self._section.model
        try:
            response = self._ai.with_options(max_retries=2).models.with_raw_response.list()
            known = msgspec.json.decode(response.http_response.content, type=ModelList).data
        except (self._openai.OpenAIError, msgspec.DecodeError) as error:
            if wanted is not None and not isinstance(error, self._openai.APIConnectionError):
                return Served(wanted)  # not every server lists its models
            raise InputError(self._sentence(error)) from None
        if wanted is None and len(known) != 1:
            names = ", ".join(one.id for one in known[:10]) + (", …" if len(known) > 10 else "")
            raise InputError(f"{self.url} has {len(known)} models; say which by `model`: {names}")
        return next((one for one in known if wanted in (None, one.id)), None) or Served(str(wanted))

    def complete(self, **body: Any) -> TextAnswer:
        """Ask `/completions`. Raises Refused, and InputError where no try helped."""
        return self._ask(self._ai.completions, TextAnswer, body)

    def chat(self, **body: Any) -> ChatAnswer:
        """Ask `/chat/completions`. Raises as `complete`."""
        return self._ask(self._ai.chat.completions, ChatAnswer, body)

    def close(self) -> None:
        """Cut the connections."""
        self._ai.close()

    def _ask(self, resource: Any, kind: type[T], body: dict[str, Any]) -> T:
        name = self.served.id
        self.budget.begin()
        used: Usage | None = None
        try:
            response = resource.with_raw_response.create(model=name, **body)
            answer: Any = msgspec.json.decode(response.http_response.content, type=kind)
            used = answer.usage
            if not answer.choices:
                raise InputError(f"{self.url}: the answer holds no choice")
        except self._openai.APIStatusError as error:
            if error.status_code in (400, 404, 405, 413, 415, 422, 501):
                raise Refused(self._scrubbed(error)) from None
            raise InputError(self._sentence(error)) from None
        except self._openai.OpenAIError as error:
            raise InputError(self._sentence(error)) from None
        except msgspec.DecodeError as error:
            raise InputError(f"{self.url}: the answer is not of OpenAI's form: {error}; {GO_ON}") from None
        finally:
            self.budget.end(used or Usage())
        if used is None and self.budget.capped:
            raise InputError(f"{self.url} does not count tokens (`usage`), so that no cap can be kept: leave it out")
        return answer  # type: ignore[no-any-return]

    def _sentence(self, error: Any) -> str:
        status = getattr(error, "status_code", None)
        if status in (401, 403):
            named = f"the key in {self._section.key_env}" if self._key else "requests without a key (set `key_env`)"
            return f"{self.url} refuses {named}: status {status}"
        if isinstance(error, self._openai.APITimeoutError):
            return f"{self.url}: no answer in {self._section.timeout_s:g} s, {TRIES + 1} times; {GO_ON}"
        if isinstance(error, self._openai.APIConnectionError):
            cause = error.__cause__
            why = self._clean(str(cause)) if cause is not None else "the connection failed"
            return f"{self.url} cannot be reached, or cuts its answers: {why}; {GO_ON}"
        return f"{self.url}: {self._scrubbed(error)}; {GO_ON}"

    def _scrubbed(self, error: Any) -> str:
        """Status and message of an error of the server."""
        body = getattr(error, "body", None)
        said = body.get("message") if isinstance(body, dict) else None
        status = getattr(error, "status_code", None)
        return f"status {status}: {self._clean(str(said or error))}" if status else self._clean(str(error))

    def _clean(self, text: str) -> str:
        """One line without the key, whatever the server repeats of it."""
        text = " ".join(text.split())
        text = text.replace(self._key, "(key)") if self._key else text
        return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def base_url(url: str) -> str:
    """The URL that OpenAI's paths are added to: with `/v1`, unless it names a version already."""
    parts = urlsplit(url).path.split("/")
    return url.rstrip("/") if any(_VERSION.fullmatch(part) for part in parts) else url.rstrip("/") + "/v1"


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise InputError(f"the environment variable {variable} (`key_env`) holds no key")
    return key
