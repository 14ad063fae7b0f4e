"""The HTTP side of serving: checks every request before the model sees it, and turns pieces into answers."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette  # type: ignore[import-not-found,unused-ignore]
from starlette.concurrency import run_in_threadpool  # type: ignore[import-not-found,unused-ignore]
from starlette.exceptions import HTTPException  # type: ignore[import-not-found,unused-ignore]
from starlette.requests import Request  # type: ignore[import-not-found,unused-ignore]
from starlette.responses import JSONResponse, Response, StreamingResponse  # type: ignore[import-not-found,unused-ignore]
from starlette.routing import Route  # type: ignore[import-not-found,unused-ignore]

from pmc_llama.errors import InputError
from pmc_llama.serve.answers import Answer, Choice
from pmc_llama.serve.engine import Engine
from pmc_llama.serve.http import ERRORS, NotFound, guarded, protections, read_body, tokens_for_log
from pmc_llama.serve.jobs import Job, Piece
from pmc_llama.serve.prompting import chat_ids
from pmc_llama.serve.protocol import DEFAULT_TOKENS, ChatRequest, CompletionRequest, error_body
from pmc_llama.serve.sampling import Sampling

MOST_CHARS_PER_TOKEN = 16
"""Of a whole prompt, on average; English has about four."""
Pieces = asyncio.Queue[tuple[int, Piece]]
"""Pieces with the number of the prompt that they answer."""


def build_app(engine: Engine, *, token: str | None = None, routes: Sequence[Any] = ()) -> Starlette:
    """The application for one model, with more `routes` beside it.

    With a `token`, every request but `/health` must carry it.
    """
    service = _Service(engine)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(engine.close)

    return Starlette(
        routes=[
            Route("/health", service.health),
            Route("/v1/models", guarded(service.models, token)),
            Route("/v1/completions", guarded(service.completions, token), methods=["POST"]),
            Route("/v1/chat/completions", guarded(service.chat, token), methods=["POST"]),
            *routes,
        ],
        middleware=protections(token),
        exception_handlers=ERRORS,
        lifespan=lifespan,
    )


class _Service:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def models(self, request: Request) -> Response:
        model = {"id": self._engine.name, "object": "model", "created": 0, "owned_by": "pmc-llama"}
        return JSONResponse({"object": "list", "data": [{**model, "max_model_len": self._engine.context}]})

    async def completions(self, request: Request) -> Response:
        asked = await self._read(request, CompletionRequest)
        encoded = [await self._encoded(prompt) for prompt in asked.prompts]
        return await self._answer(request, asked, encoded, chat=False)

    async def chat(self, request: Request) -> Response:
        asked = await self._read(request, ChatRequest)
        self._check_size(sum(len(one.content) for one in asked.messages))
        messages = [{"role": one.role, "content": one.content} for one in asked.messages]
        try:
            ids = await run_in_threadpool(chat_ids, self._engine.tokenizer, messages)
        except InputError as error:
            raise HTTPException(400, f"messages: {error}") from None
        return await self._answer(request, asked, [ids], chat=True)

    async def _read(self, request: Request, kind: type[Any]) -> Any:
        asked = await read_body(request, kind)
        if asked.model is not None and asked.model not in self._engine.names:
            raise NotFound(f"model {asked.model!r} is not served here: this is {self._engine.name!r}")
        return asked

    async def _encoded(self, prompt: str | list[int]) -> list[int]:
        if isinstance(prompt, str):
            self._check_size(len(prompt))
            return list((await run_in_threadpool(self._engine.tokenizer, prompt))["input_ids"])
        if any(not 0 <= token < self._engine.model.config.vocab_size for token in prompt):
            raise HTTPException(400, "prompt: a token id is outside the model's vocabulary")
        return prompt

    async def _answer(
        self, request: Request, asked: CompletionRequest | ChatRequest, prompts: Sequence[list[int]], *, chat: bool
    ) -> Response:
        engine, pieces = self._engine, Pieces()
        jobs = [self._job(asked, ids, pieces, i) for i, ids in enumerate(prompts)]
        told = asked.alternatives is not None
        answer = Answer(
            chat=chat, request_id=uuid.uuid4().hex, model=engine.name, tokenizer=engine.tokenizer, logprobs=told
        )
        given = asked.prompts if isinstance(asked, CompletionRequest) and asked.echo else [""] * len(prompts)
        texts = [
            one if isinstance(one, str) else engine.tokenizer.decode(one, skip_special_tokens=True) for one in given
        ]
        choices = [Choice(i, len(ids), text) for i, (ids, text) in enumerate(zip(prompts, texts, strict=True))]
        engine.submit(*jobs)
        if asked.stream:
            events = _events(request, answer, choices, jobs, pieces, usage=asked.stream_options.include_usage)
            return StreamingResponse(events, media_type="text/event-stream")
        received = await _collect(request, jobs, pieces)
        last = next((one[-1] for one in received if one[-1].finish in ("timeout", "error")), None)
        if last is not None:
            raise HTTPException(504 if last.finish == "timeout" else 500, _failure(last))
        body = answer.whole(choices, received)
        tokens_for_log(request, choices)
        return JSONResponse(body)

    def _job(self, asked: CompletionRequest | ChatRequest, ids: list[int], pieces: Pieces, number: int) -> Job:
        loop = asyncio.get_running_loop()
        return Job(
            ids=ids,
            max_tokens=self._room(len(ids), asked.wanted_tokens),
            deliver=lambda piece: _hand_over(loop, pieces, (number, piece)),
            sampling=Sampling(asked.temperature, asked.top_p, asked.seed),
            stops=asked.stops,
            logprobs=asked.alternatives,
            echo=asked.echo,
        )

    def _check_size(self, chars: int) -> None:
        """Raises a 400 for a text that is certainly too long, before the tokenizer spends seconds on it."""
        if chars > self._engine.context * MOST_CHARS_PER_TOKEN:
            raise HTTPException(
                400, f"the prompt has {chars} characters, but the model's context holds {self._engine.context} tokens"
            )

    def _room(self, prompt_tokens: int, wanted: int | None) -> int:
        """How many tokens may be generated. Raises a 400 that gives the numbers if what is asked does not fit."""
        context = self._engine.context
        room = context - prompt_tokens
        if prompt_tokens == 0:
            raise HTTPException(400, "the prompt is empty")
        if room < (1 if wanted is None else wanted):
            asked = f" and {wanted} are to be generated" if wanted else ""
            raise HTTPException(
                400, f"the prompt has {prompt_tokens} tokens{asked}, but the model's context holds {context} in all"
            )
        return min(DEFAULT_TOKENS, room) if wanted is None else wanted


def _hand_over(loop: asyncio.AbstractEventLoop, pieces: Pieces, item: tuple[int, Piece]) -> None:
    """From the engine's thread to the event loop, which may be gone already when the server stops."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(pieces.put_nowait, item)


async def _collect(request: Request, jobs: Sequence[Job], pieces: Pieces) -> list[list[Piece]]:
    """All pieces of each answer; a client that hangs up cancels them at once."""
    received: list[list[Piece]] = [[] for _ in jobs]
    watch = asyncio.create_task(_cancel_when_gone(request, jobs))
    try:
        while not all(one and one[-1].finish for one in received):
            number, piece = await pieces.get()
            received[number].append(piece)
    finally:
        watch.cancel()
        _cancel(jobs)  # without effect on those that are done
    return received


async def _cancel_when_gone(request: Request, jobs: Sequence[Job]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    _cancel(jobs)


def _cancel(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.cancelled.set()


async def _events(
    request: Request, answer: Answer, choices: Sequence[Choice], jobs: Sequence[Job], pieces: Pieces, *, usage: bool
) -> AsyncIterator[str]:
    """Server-sent events; when the client hangs up, this generator is closed and the jobs cancelled."""
    try:
        left, begun = len(choices), set[int]()
        while left:
            number, piece = await pieces.get()
            if piece.finish in ("timeout", "error"):
                yield _event(error_body(_failure(piece), "server_error"))
                return
            yield _event(answer.chunk(choices[number], piece, first=number not in begun))
            begun.add(number)
            left -= piece.finish is not None
        tokens_for_log(request, choices)
        if usage:
            yield _event(answer.usage_chunk(choices))
        yield "data: [DONE]\n\n"
    finally:
        _cancel(jobs)


def _event(value: dict[str, object]) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _failure(piece: Piece) -> str:
    if piece.finish == "timeout":
        return f"the answer was not ready in time ({piece.tokens} tokens were generated): ask for fewer tokens"
    return "the model failed on this request; the server's log says why"
