"""`pmc-llama serve`: vLLM where it is installed and a GPU is there, else our own small server on transformers."""

import importlib.util
import ipaddress
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pmc_llama.errors import InputError
from pmc_llama.serve.engine import Engine, Limits

Backend = Literal["vllm", "transformers"]


def serve(
    folder: Path | str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    backend: Backend | None = None,
    limits: Limits | None = None,
) -> None:
    """Answer OpenAI's API for the model in `folder` (or a hub id) until interrupted.

    `backend` None chooses. Raises InputError for an address that others can reach without a `token`, for a backend
    that is not installed, and for a folder without a model.
    """
    check_address(host, token)
    chosen = backend or choose_backend()
    print(f"serving {folder} with {chosen} at http://{host}:{port}/v1 (Ctrl-C stops)", flush=True)
    if chosen == "vllm":
        if importlib.util.find_spec("vllm") is None:
            raise InputError("vLLM is not installed: `pip install vllm`, or leave the backend out")
        command, environment = vllm_command(folder, host, port, token)
        subprocess.run(command, env=os.environ | environment, check=True)
        return
    try:
        from pmc_llama.serve.app import build_app
    except ImportError as error:
        raise _missing(error) from None
    _run(build_app(Engine(folder, limits), token=token), host, port)


def serve_playground(
    models: Sequence[str], *, host: str = "127.0.0.1", port: int = 8000, token: str | None = None
) -> None:
    """Show the multiple-choice page for models (folders or hub ids) beside each other until interrupted.

    With a `token`, the page is opened as `http://host:port/#token=…`. Raises InputError as `serve` does.
    """
    check_address(host, token)
    try:
        from pmc_llama.serve.playground import build_playground
    except ImportError as error:
        raise _missing(error) from None
    app = build_playground(names_for(models), token=token)
    print(f"the page is at http://{host}:{port}/ (Ctrl-C stops)", flush=True)
    _run(app, host, port)


def names_for(models: Sequence[str]) -> dict[str, str]:
    """Models by the names they are shown under: the last part of each path or id, or the whole where two share it."""
    names = [Path(model).resolve().name for model in models]
    return dict(zip(names if len(set(names)) == len(models) else models, models, strict=True))


def _run(app: Any, host: str, port: int) -> None:
    try:
        import uvicorn  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise _missing(error) from None
    uvicorn.run(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=10)


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
