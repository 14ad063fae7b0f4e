"""The HTTP side of serving: checks every request before the model sees it, and turns pieces into answers."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette  # type: ignore[import-not-found,unused-ignore]
from starlette.concurrency import run_in_threadpool  # type: ignore[import-not-found,unused-ignore]
from starlette.exceptions import HTTPException  # type: ignore[import-not-found,unused-ignore]
from starlette.requests import Request  # type: ignore[import-not-found,unused-ignore]
from starlette.responses import JSONResponse, Response, StreamingResponse  # type: ignore[import-not-found,unused-ignore]
from starlette.routing import Route  # type: ignore[import-not-found,unused-ignore]

from pmc_llama.serve.engine import Engine, Job, Piece
from pmc_llama.serve.http import ERRORS, guarded, protections, read_body
from pmc_llama.serve.prompting import chat_ids
from pmc_llama.serve.protocol import DEFAULT_TOKENS, Answer, ChatRequest, CompletionRequest, error_body
from pmc_llama.serve.sampling import Sampling

LOOK_FOR_CLIENT_EVERY_S = 1.0


def build_app(engine: Engine, *, token: str | None = None) -> Starlette:
    """The application for one model. With a `token`, every request but `/health` must carry it."""
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
        asked = await read_body(request, CompletionRequest)
        if isinstance(asked.prompt, str):
            ids = (await run_in_threadpool(self._engine.tokenizer, asked.prompt))["input_ids"]
        else:
            ids = asked.prompt
            if any(not 0 <= token < self._engine.model.config.vocab_size for token in ids):
                raise HTTPException(400, "prompt: a token id is outside the model's vocabulary")
        return await self._answer(request, asked, list(ids), chat=False)

    async def chat(self, request: Request) -> Response:
        asked = await read_body(request, ChatRequest)
        messages = [message.model_dump() for message in asked.messages]
        try:
            ids = await run_in_threadpool(chat_ids, self._engine.tokenizer, messages)
        except Exception as error:  # chat templates are programs of the model's maker, and raise what they like
            raise HTTPException(400, f"messages: the model's chat template refuses them: {error}") from None
        return await self._answer(request, asked, ids, chat=True)

    async def _answer(
        self, request: Request, asked: CompletionRequest | ChatRequest, ids: list[int], *, chat: bool
    ) -> Response:
        pieces: asyncio.Queue[Piece] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        job = Job(
            ids=ids,
            max_tokens=self._room(len(ids), asked.wanted_tokens),
            deliver=lambda piece: _hand_over(loop, pieces, piece),
            sampling=Sampling(asked.temperature, asked.top_p, asked.seed),
            stops=asked.stops,
        )
        answer = Answer(chat=chat, request_id=uuid.uuid4().hex, model=self._engine.name, prompt_tokens=len(ids))
        self._engine.submit(job)
        if asked.stream:
            events = _events(answer, job, pieces, usage=asked.stream_options.include_usage)
            return StreamingResponse(events, media_type="text/event-stream")
        received = await _collect(request, job, pieces)
        if received[-1].finish in ("timeout", "error"):
            raise HTTPException(504 if received[-1].finish == "timeout" else 500, _failure(received[-1]))
        return JSONResponse(answer.whole(received))

    def _room(self, prompt_tokens: int, wanted: int | None) -> int:
        """How many tokens may be generated. Raises a 400 that gives the numbers if what is asked does not fit."""
        context = self._engine.context
        room = context - prompt_tokens
        if prompt_tokens == 0:
            raise HTTPException(400, "the prompt is empty")
        if room < (wanted or 1):
            asked = f" and {wanted} are to be generated" if wanted else ""
            raise HTTPException(
                400, f"the prompt has {prompt_tokens} tokens{asked}, but the model's context holds {context} in all"
            )
        return wanted or min(DEFAULT_TOKENS, room)


def _hand_over(loop: asyncio.AbstractEventLoop, pieces: "asyncio.Queue[Piece]", piece: Piece) -> None:
    """From the model's thread to the event loop, which may be gone already when the server stops."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(pieces.put_nowait, piece)


async def _collect(request: Request, job: Job, pieces: "asyncio.Queue[Piece]") -> list[Piece]:
    """All pieces of an answer; a client that hung up cancels the job."""
    received: list[Piece] = []
    try:
        while not (received and received[-1].finish):
            try:
                received.append(await asyncio.wait_for(pieces.get(), LOOK_FOR_CLIENT_EVERY_S))
            except TimeoutError:
                if await request.is_disconnected():
                    job.cancelled.set()
    finally:
        job.cancelled.set()  # without effect on a job that is done
    return received


async def _events(answer: Answer, job: Job, pieces: "asyncio.Queue[Piece]", *, usage: bool) -> AsyncIterator[str]:
    """Server-sent events; when the client hangs up, this generator is closed and the job cancelled."""
    try:
        first, piece = True, Piece()
        while not piece.finish:
            piece = await pieces.get()
            if piece.finish in ("timeout", "error"):
                yield _event(error_body(_failure(piece), "server_error"))
                return
            yield _event(answer.chunk(piece, first=first))
            first = False
        if usage:
            yield _event(answer.usage_chunk(piece.tokens))
        yield "data: [DONE]\n\n"
    finally:
        job.cancelled.set()


def _event(value: dict[str, object]) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _failure(piece: Piece) -> str:
    if piece.finish == "timeout":
        return f"the answer was not ready in time ({piece.tokens} tokens were generated): ask for fewer tokens"
    return "the model failed on this request; the server's log says why"
