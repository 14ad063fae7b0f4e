"""A real vLLM server and the model loaded here give one answer, in log-probabilities and in words.

It takes minutes and its own environment: set PMC_LLAMA_VLLM_PYTHON to that Python, or run `make .venvs/vllm/.ready`
and set PMC_LLAMA_VLLM_PYTHON=.venvs/vllm/bin/python. PMC_LLAMA_VLLM_MODEL is a Hugging Face folder to take instead of
the small random one.
"""

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pmc_llama.qa.backends import Answer, Model, local_backend, open_backend
from pmc_llama.recipe.models import ModelSection
from pmc_llama.recipe.qa import EvaluateSection, TaskSection
from pmc_llama.tokens.encode import hf_tokenizer

from .conftest import make_questions

START_S = 600
FP32 = EvaluateSection.model_validate({"precision": "fp32", "max_length": 500, "generation": {"max_new_tokens": 12}})


@contextmanager
def vllm(folder: Path, log: Path) -> Iterator[str]:
    python = os.environ.get("PMC_LLAMA_VLLM_PYTHON")
    if not python:
        pytest.skip("PMC_LLAMA_VLLM_PYTHON names no Python that has vLLM")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--port", str(port)]
    command += ["--dtype", "float32", "--max-model-len", "512", "--enforce-eager", "--host", "127.0.0.1"]
    env = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as out:
        server = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_for(f"http://127.0.0.1:{port}", server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(60)


def wait_for(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(1)
    raise AssertionError(f"vLLM did not start: {log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def folder(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("PMC_LLAMA_VLLM_MODEL")
    if given:
        return Path(given)
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    sizes = {"hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), initializer_range=0.2, **sizes))
    with torch.no_grad():
        model.lm_head.weight[: 3 + 256] = 0  # writes no single bytes, which programs show in different ways
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def task(**keys: Any) -> TaskSection:
    return TaskSection(format="medmcqa", test="dev.json", **keys)


def difference(ours: list[Answer], theirs: list[Answer]) -> float:
    pairs = [pair for a, b in zip(ours, theirs, strict=True) for pair in zip(*both(a, b), strict=True)]
    return max(abs(a - b) for a, b in pairs)


def both(one: Answer, other: Answer) -> tuple[tuple[float, ...], tuple[float, ...]]:
    assert one.option_logprobs is not None
    assert other.option_logprobs is not None
    return one.option_logprobs, other.option_logprobs


@pytest.mark.slow
def test_vllm_gives_what_the_model_gives_here(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("openai", reason="the extra `endpoint` is not installed")
    tokenizer, questions = hf_tokenizer(folder), make_questions(20)
    letters, texts, written = task(), task(answers="texts"), task(method="generation")
    here = local_backend(folder, tokenizer, FP32)
    with vllm(folder, tmp_path / "log") as url:
        section = ModelSection(endpoint=url, method="likelihood")
        as_text, as_ids = (open_backend(Model(section, FP32, one)) for one in (None, tokenizer))
        for asked in (letters, texts):
            ours = here.answer(asked, questions)
            for name, there in (("texts", as_text), ("ids", as_ids)):
                theirs = there.answer(asked, questions)
                equal = sum(a.chosen == b.chosen for a, b in zip(ours, theirs, strict=True))
                print(f"{asked.answers} as {name}: {difference(ours, theirs):.1e} nats, {equal} of {len(ours)} equal")
                assert difference(ours, theirs) < 2e-3
                assert equal == len(ours)
        ours, theirs = (one.answer(written, questions) for one in (here, as_ids))
        same = sum((a.parsed or "").strip() == (b.parsed or "").strip() for a, b in zip(ours, theirs, strict=True))
        print(f"written: {same} of {len(ours)} equal")
        assert same >= len(ours) - 1
