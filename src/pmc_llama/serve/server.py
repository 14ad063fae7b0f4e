"""`pmc-llama serve`: vLLM where it is installed and a GPU is there, else our own small server on transformers."""

import importlib.util
import ipaddress
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pmc_llama.errors import InputError
from pmc_llama.serve.engine import Engine, Limits
from pmc_llama.serve.loading import Dtype

Backend = Literal["vllm", "transformers"]


def serve(
    folder: Path | str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    backend: Backend | None = None,
    limits: Limits | None = None,
    dtype: Dtype = "auto",
    page: bool = False,
    beside: str | None = None,
) -> None:
    """Answer OpenAI's API for the model in `folder` (or a hub id) until interrupted.

    `backend` None chooses. With `page`, the multiple-choice page is at `/`, where the model is shown behind the one
    `beside` it; with a `token` it is opened as `http://host:port/#token=…`. Raises InputError for an address that
    others can reach without a `token`, for a backend that is not installed, and for a folder without a model.
    """
    check_address(host, token)
    chosen = backend or ("transformers" if page else choose_backend())
    if chosen == "vllm":
        if importlib.util.find_spec("vllm") is None:
            raise InputError("vLLM is not installed: `pip install vllm`, or leave the backend out")
        command, environment = vllm_command(folder, host, port, token)
        print(f"serving {folder} with {chosen} at http://{host}:{port}/v1 (Ctrl-C stops)", flush=True)
        subprocess.run(command, env=os.environ | environment, check=True)
        return
    try:
        from pmc_llama.serve.app import build_app
        from pmc_llama.serve.connections import bounded_server
        from pmc_llama.serve.playground import Playground, page_routes
    except ImportError as error:
        raise _missing(error) from None
    engine = Engine(folder, limits, dtype)
    others = {} if beside is None else {next(iter(names_for([beside, str(folder)]))): beside}
    routes = page_routes(Playground(others, engine), token=token) if page else []
    app = build_app(engine, token=token, routes=routes)
    print(_what_is_served(engine, f"http://{host}:{port}", page), flush=True)
    bounded_server(app, host, port, answer_s=engine.limits.timeout_s).run()


def _what_is_served(engine: Engine, url: str, page: bool) -> str:
    held = engine.room_tokens * engine.token_bytes
    bound = f"{engine.room_tokens:,} tokens at the same time ({held / 2**30:.1f} GiB)"
    where = f"{url}/v1" + (f", the page at {url}/" if page else "")
    return f"serving {engine.name} at {where}: {engine.limits.batch} requests and {bound}; Ctrl-C stops"


def names_for(models: Sequence[str]) -> dict[str, str]:
    """Models by the names they are shown under: the last part of each path or id, or the whole where two share it."""
    names = [Path(model).resolve().name for model in models]
    return dict(zip(names if len(set(names)) == len(models) else models, models, strict=True))


def _missing(error: ImportError) -> InputError:
    return InputError(f"serving needs the extra `serve`: pip install 'pmc-llama[serve]' ({error})")


def choose_backend() -> Backend:
    """vLLM if it is installed and there is a GPU for it, else transformers."""
    import torch

    return "vllm" if importlib.util.find_spec("vllm") is not None and torch.cuda.is_available() else "transformers"


def vllm_command(folder: Path | str, host: str, port: int, token: str | None) -> tuple[list[str], dict[str, str]]:
    """vLLM's own server for the model, and what to add to its environment: a token on a command line is no secret."""
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += ["--served-model-name", Path(folder).name, "--host", host, "--port", str(port)]
    return command, {"VLLM_API_KEY": token} if token else {}


def check_address(host: str, token: str | None) -> None:
    """Raises InputError for an address beyond loopback without a token."""
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local and not token:
        raise InputError(
            f"host {host} can be reached from other machines: give a token (--token, or PMC_LLAMA_TOKEN), "
            "or serve on 127.0.0.1"
        )
