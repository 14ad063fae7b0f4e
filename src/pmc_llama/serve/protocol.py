"""The part of OpenAI's API that is answered, as types: what is not here is refused by name, never ignored."""

import time
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pmc_llama.serve.engine import Piece

DEFAULT_TOKENS = 256


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Message(_Asked):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class StreamOptions(_Asked):
    """What else a stream says."""

    include_usage: bool = False


class _Generation(_Asked):
    """What both endpoints understand."""

    model: str | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=0.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int = 0
    stop: str | list[str] = []
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    n: Literal[1] = 1
    user: str | None = None
    """Accepted and not used."""

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def wanted_tokens(self) -> int | None:
        """The most tokens to generate, if the request says."""
        return self.max_tokens


class CompletionRequest(_Generation):
    """`/v1/completions`: the prompt is continued as it is. One prompt a request; the server batches by itself."""

    prompt: str | list[int]


class ChatRequest(_Generation):
    """`/v1/chat/completions`."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)

    @property
    def wanted_tokens(self) -> int | None:
        """The most tokens to generate, under either of the API's names."""
        return self.max_completion_tokens or self.max_tokens


def explain(error: ValidationError) -> str:
    """What is wrong with a request, one sentence for each problem."""
    sentences = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            sentences.append(f"{where} is not supported by this server")
        else:
            sentences.append(f"{where}: {problem['msg'][:1].lower()}{problem['msg'][1:]}")
    return "; ".join(dict.fromkeys(sentences))


def error_body(message: str, kind: str = "invalid_request_error") -> dict[str, object]:
    """An error as OpenAI's clients read it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """How many tokens were read and written."""
    total = prompt_tokens + completion_tokens
    return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": total}


class Answer:
    """The shapes of one answer: whole, or chunk by chunk."""

    def __init__(self, *, chat: bool, request_id: str, model: str, prompt_tokens: int) -> None:
        self.chat, self._prompt_tokens = chat, prompt_tokens
        self._head = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{request_id}",
            "created": int(time.time()),
            "model": model,
        }

    def whole(self, pieces: Sequence[Piece]) -> dict[str, object]:
        """The body of an answer that is not streamed."""
        text = "".join(piece.text for piece in pieces)
        text = text.lstrip() if self.chat else text
        said = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": pieces[-1].finish}
        kind = "chat.completion" if self.chat else "text_completion"
        counted = usage(self._prompt_tokens, pieces[-1].tokens)
        return {**self._head, "object": kind, "choices": [choice], "usage": counted}

    def chunk(self, piece: Piece, *, first: bool = False) -> dict[str, object]:
        """One event of a stream."""
        if self.chat:
            delta = {"role": "assistant", "content": piece.text.lstrip()} if first else {"content": piece.text}
            said: dict[str, object] = {"delta": delta}
        else:
            said = {"text": piece.text}
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": piece.finish}
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return {**self._head, "object": kind, "choices": [choice]}

    def usage_chunk(self, tokens: int) -> dict[str, object]:
        """The last event, if the request asked for it."""
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return {**self._head, "object": kind, "choices": [], "usage": usage(self._prompt_tokens, tokens)}
