"""What a server with OpenAI's API answers, as types; what is not read here is ignored."""

from typing import Any

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """Tokens that a request cost."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens)

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(self.prompt_tokens - other.prompt_tokens, self.completion_tokens - other.completion_tokens)

    @property
    def total(self) -> int:
        """Tokens read and written."""
        return self.prompt_tokens + self.completion_tokens


class TextLogprobs(msgspec.Struct, frozen=True):
    """Log-probabilities of `/completions`, token by token; the first token of all has none."""

    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] | None = None


class TextChoice(msgspec.Struct, frozen=True):
    """What was written after a prompt."""

    text: str = ""
    logprobs: Any = None
    """`TextLogprobs`, or whatever else the server calls so."""


class TextAnswer(msgspec.Struct, frozen=True):
    """An answer of `/completions`."""

    choices: list[TextChoice]
    usage: Usage | None = None


class Alternative(msgspec.Struct, frozen=True):
    """One of the likeliest tokens of a place."""

    token: str
    logprob: float


class Place(msgspec.Struct, frozen=True):
    """One written token and what could have stood there."""

    top_logprobs: list[Alternative] = []


class ChatLogprobs(msgspec.Struct, frozen=True):
    """Log-probabilities of `/chat/completions`."""

    content: list[Place] | None = None


class Message(msgspec.Struct, frozen=True):
    """A turn; without content where the model refused or only thought."""

    content: str | None = None


class ChatChoice(msgspec.Struct, frozen=True):
    """A turn that was written."""

    message: Message
    logprobs: Any = None
    """`ChatLogprobs`, or whatever else the server calls so."""


class ChatAnswer(msgspec.Struct, frozen=True):
    """An answer of `/chat/completions`."""

    choices: list[ChatChoice]
    usage: Usage | None = None


class Served(msgspec.Struct, frozen=True):
    """A model in a server's list."""

    id: str
    max_model_len: int | None = None
    """Tokens of its context, where the server says so (vLLM and `pmc-llama serve` do)."""


class ModelList(msgspec.Struct, frozen=True):
    """An answer of `/models`."""

    data: list[Served]
