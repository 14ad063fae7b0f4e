"""The multiple-choice playground: a web page that shows how likely each model finds each option of a question."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.applications import Starlette  # type: ignore[import-not-found,unused-ignore]
from starlette.concurrency import run_in_threadpool  # type: ignore[import-not-found,unused-ignore]
from starlette.exceptions import HTTPException  # type: ignore[import-not-found,unused-ignore]
from starlette.requests import Request  # type: ignore[import-not-found,unused-ignore]
from starlette.responses import HTMLResponse, JSONResponse, Response  # type: ignore[import-not-found,unused-ignore]
from starlette.routing import Route  # type: ignore[import-not-found,unused-ignore]

from pmc_llama.errors import PmcLlamaError
from pmc_llama.qa.prompts import TEMPLATES, render
from pmc_llama.qa.question import Question
from pmc_llama.qa.score import Scored, score
from pmc_llama.serve.engine import Engine
from pmc_llama.serve.http import ERRORS, guarded, protections, read_body
from pmc_llama.serve.loading import load_served
from pmc_llama.stats.calibration import probabilities

PAGE = Path(__file__).parent / "templates" / "playground.html"
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:"


class Asked(BaseModel):
    """What the page sends."""

    model_config = ConfigDict(extra="forbid")

    question: str = Field(min_length=1, max_length=20_000)
    options: list[str] = Field(min_length=2, max_length=10)
    context: str | None = Field(default=None, max_length=50_000)
    prompt: str = "plain"


class Playground:
    """Models by the names they are shown under; one question at a time."""

    def __init__(self, folders: Mapping[str, Path | str], engine: Engine | None = None) -> None:
        """`folders` are loaded once; the `engine`'s model comes last and is asked between its steps."""
        self._models = {name: load_served(folder) for name, folder in folders.items()}
        self._engine = engine
        self._lock = threading.Lock()

    def score(self, asked: Asked) -> dict[str, object]:
        """The prompt that was shown, and for each model the options' log-likelihoods and their softmax."""
        question = Question("playground", "0", asked.question, tuple(asked.options), gold=0, context=asked.context)
        scored = {}
        with self._lock:
            for name, (model, tokenizer) in self._models.items():
                scored[name] = score(model, tokenizer, [question], prompt=asked.prompt)[0]
        engine = self._engine
        if engine is not None:
            found = engine.between_steps(lambda: score(engine.model, engine.tokenizer, [question], prompt=asked.prompt))
            scored[engine.name] = found[0]
        shown = render(asked.prompt, question)
        results = [_result(name, one) for name, one in scored.items()]
        return {"models": results, "prompt": shown.context, "scored": list(shown.continuations)}


def _result(name: str, scored: Scored) -> dict[str, object]:
    shares = [float(value) for value in probabilities(scored.option_scores)]
    return {"model": name, "probabilities": shares, "logprobs": list(scored.option_logprobs)}


def page_routes(playground: Playground, *, token: str | None = None) -> list[Any]:
    """The page at `/`, and the endpoint that it asks."""

    async def page(request: Request) -> Response:
        return HTMLResponse(PAGE.read_text(), headers={"Content-Security-Policy": POLICY})

    async def ask(request: Request) -> Response:
        asked = await read_body(request, Asked)
        if asked.prompt not in TEMPLATES:
            raise HTTPException(400, f"prompt: {asked.prompt!r} is none of {', '.join(TEMPLATES)}")
        try:
            return JSONResponse(await run_in_threadpool(playground.score, asked))
        except PmcLlamaError as error:
            raise HTTPException(400, str(error)) from None

    return [Route("/", page), Route("/score", guarded(ask, token), methods=["POST"])]


def build_playground(folders: Mapping[str, Path | str], *, token: str | None = None) -> Starlette:
    """The page alone, as an application."""
    routes = page_routes(Playground(folders), token=token)
    return Starlette(routes=routes, middleware=protections(token), exception_handlers=ERRORS)
