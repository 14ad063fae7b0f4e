"""The part of OpenAI's API that is answered, as types: what is not here is refused by name, never ignored."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

DEFAULT_TOKENS = 256
MOST_PROMPTS = 128
MOST_STOPS, LONGEST_STOP = 16, 1000
MOST_ALTERNATIVES = 20

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("presence_penalty", "frequency_penalty", "min_p", "min_tokens"), (0,)),
    **dict.fromkeys(("repetition_penalty", "length_penalty", "best_of"), (1,)),
    **dict.fromkeys(("logit_bias", "metadata"), ({},)),
    **dict.fromkeys(("tools", "functions", "stop_token_ids", "bad_words"), ([],)),
    **dict.fromkeys(("store", "ignore_eos", "use_beam_search", "include_stop_str_in_output"), (False,)),
    **dict.fromkeys(("skip_special_tokens", "add_generation_prompt"), (True,)),
    "top_k": (-1, 0),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
    "suffix": ("",),
}
"""What clients send although it changes nothing: the values that mean what this server does anyway."""
_UNUSED = ("user", "safety_identifier", "prompt_cache_key")
"""Texts that are accepted and not used."""


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Part(_Asked):
    """A part of a message; only text is understood."""

    type: Literal["text"]
    text: str


def _joined(content: Any) -> Any:
    """A message's parts as one text."""
    if not isinstance(content, list):
        return content
    return "".join(Part.model_validate(part).text for part in content)


class Message(_Asked):
    """One turn of a conversation; `developer` is the newer name of `system`."""

    role: Annotated[
        Literal["system", "user", "assistant"], BeforeValidator(lambda role: "system" if role == "developer" else role)
    ]
    content: Annotated[str, BeforeValidator(_joined)]
    name: str | None = None
    """Of who speaks; accepted and not used, as chat templates have no place for it."""
    refusal: None = None
    tool_calls: list[None] | None = Field(default=None, max_length=0)


class StreamOptions(_Asked):
    """What else a stream says."""

    include_usage: bool = False
    include_obfuscation: bool = False
    """Accepted; nothing is added."""


class _Generation(_Asked):
    """What both endpoints understand."""

    model: str | None = None
    temperature: float = Field(default=0.0, ge=0, le=2, allow_inf_nan=False)
    top_p: float = Field(default=1.0, gt=0, le=1, allow_inf_nan=False)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**64)
    stop: str | list[str] = []
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    n: Literal[1] = 1

    @model_validator(mode="before")
    @classmethod
    def _without_neutral(cls, value: Any) -> Any:
        """Take out what changes nothing."""
        return {name: item for name, item in value.items() if not _changes_nothing(name, item, cls)}

    @model_validator(mode="after")
    def _bounded(self) -> "_Generation":
        if len(self.stops) > MOST_STOPS or any(len(stop) > LONGEST_STOP for stop in self.stops):
            raise ValueError(f"stop: at most {MOST_STOPS} strings of at most {LONGEST_STOP} characters")
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


class CompletionRequest(_Generation):
    """`/v1/completions`: each prompt is continued as it is."""

    prompt: str | list[int] | list[str] | list[list[int]]
    max_tokens: int | None = Field(default=None, ge=0)
    logprobs: int | None = Field(default=None, ge=0, le=MOST_ALTERNATIVES)
    echo: bool = False

    @model_validator(mode="after")
    def _checked(self) -> "CompletionRequest":
        if self.max_tokens == 0 and not self.echo:
            raise ValueError("max_tokens: input should be greater than or equal to 1 without `echo`")
        if self.stream and self.echo:
            raise ValueError("echo is not supported by this server in a stream")
        if len(self.prompts) > MOST_PROMPTS:
            raise ValueError(f"prompt: at most {MOST_PROMPTS} prompts in one request")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        """The prompts, one after another."""
        given: Any = self.prompt
        return list(given) if isinstance(given, list) and given and not isinstance(given[0], int) else [given]

    @property
    def wanted_tokens(self) -> int | None:
        """The most tokens to generate, if the request says."""
        return self.max_tokens

    @property
    def alternatives(self) -> int | None:
        """How many likeliest tokens to tell, None for no log-probabilities at all."""
        return self.logprobs


class ChatRequest(_Generation):
    """`/v1/chat/completions`."""

    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool = False
    top_logprobs: int = Field(default=0, ge=0, le=MOST_ALTERNATIVES)
    echo: Literal[False] = False

    @model_validator(mode="after")
    def _checked(self) -> "ChatRequest":
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs `logprobs: true`")
        return self

    @property
    def wanted_tokens(self) -> int | None:
        """The most tokens to generate, under either of the API's names."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def alternatives(self) -> int | None:
        """How many likeliest tokens to tell, None for no log-probabilities at all."""
        return self.top_logprobs if self.logprobs else None


Request = TypeVar("Request", CompletionRequest, ChatRequest)


def _changes_nothing(name: str, value: Any, kind: type[BaseModel]) -> bool:
    if name in _UNUSED:
        return isinstance(value, str)
    if name == "metadata" and isinstance(value, dict):
        return True
    if name == "logprobs" and value is False and kind is CompletionRequest:
        return True
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in _NEUTRAL.get(name, ()))


def explain(error: ValidationError) -> str:
    """What is wrong with a request, one sentence for each problem."""
    sentences = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        said = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            sentences.append(f"{where} is not supported by this server")
        elif not where:
            sentences.append(said)
        else:
            sentences.append(f"{where}: {said[:1].lower()}{said[1:]}")
    return "; ".join(dict.fromkeys(sentences))[:2000]


def error_body(message: str, kind: str = "invalid_request_error", code: str | None = None) -> dict[str, object]:
    """An error as OpenAI's clients read it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
