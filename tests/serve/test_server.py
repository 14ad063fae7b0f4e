import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from pmc_llama.errors import InputError
from pmc_llama.serve import server
from pmc_llama.serve.engine import Engine, Limits
from pmc_llama.serve.server import check_address, names_for, vllm_command
from release.tiny import ANSWER, QUESTION

SAID = ANSWER.strip()
ASKED = [{"role": "user", "content": QUESTION.removeprefix("Question: ").removesuffix("\nAnswer:")}]


@contextmanager
def running(folder: Path, token: str | None = None, limits: Limits | None = None) -> Iterator[str]:
    uvicorn = pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    pytest.importorskip("starlette", reason="the extra `serve` is not installed")
    from pmc_llama.serve.app import build_app

    listening = socket.create_server(("127.0.0.1", 0))
    app = build_app(Engine(folder, limits), token=token)
    web = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=web.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not web.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    web.should_exit = True
    thread.join(30)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def url(model_folder: Path) -> Iterator[str]:
    with running(model_folder) as url:
        yield url


def client(url: str, key: str = "unused", kind: str = "OpenAI") -> Any:
    openai = pytest.importorskip("openai", reason="the openai client is not installed")
    return getattr(openai, kind)(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=120)


def test_the_openai_client_gets_completions_and_chat(url: str) -> None:
    ai = client(url)
    assert [model.id for model in ai.models.list()] == ["tiny"]
    done = ai.completions.create(model="tiny", prompt=QUESTION, max_tokens=20)
    assert (done.choices[0].text, done.choices[0].finish_reason) == (ANSWER, "stop")
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens
    chat = ai.chat.completions.create(model="tiny", messages=ASKED)
    assert (chat.choices[0].message.content, chat.choices[0].finish_reason) == (SAID, "stop")


def test_the_openai_client_gets_streams(url: str) -> None:
    ai = client(url)
    parts = list(ai.completions.create(model="tiny", prompt=QUESTION, stream=True))
    assert "".join(part.choices[0].text for part in parts) == ANSWER
    assert parts[-1].choices[0].finish_reason == "stop"
    usage = {"include_usage": True}
    chunks = list(ai.chat.completions.create(model="tiny", messages=ASKED, stream=True, stream_options=usage))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == SAID
    assert chunks[-1].usage.completion_tokens > 0


def test_200_requests_at_once_are_all_answered(url: str) -> None:
    ai = client(url, kind="AsyncOpenAI")
    process = psutil.Process()

    async def one(i: int) -> str:
        if i % 2:
            return str((await ai.completions.create(model="tiny", prompt=QUESTION, max_tokens=8)).choices[0].text)
        stream = await ai.chat.completions.create(model="tiny", messages=ASKED, max_tokens=8, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def burst(n: int) -> list[str]:
        return await asyncio.gather(*(one(i) for i in range(n)))

    asyncio.run(burst(20))
    before = process.memory_info().rss
    ai = client(url, kind="AsyncOpenAI")
    answers = asyncio.run(burst(200))
    assert answers == [ANSWER if i % 2 else SAID for i in range(200)]
    assert process.memory_info().rss - before < 300 * 2**20


def post(url: str, path: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    import http.client
    from urllib.parse import urlsplit

    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request("POST", path, body, {"Content-Type": "application/json"} | (headers or {}))
    response = connection.getresponse()
    return response.status, json.loads(response.read())


MALFORMED = {
    "not JSON": (b"{", 400, "not valid JSON"),
    "no object": (b"[1]", 400, "must be a JSON object, not list"),
    "no prompt": (b"{}", 400, "prompt: field required"),
    "empty": (b'{"prompt": []}', 400, "the prompt is empty"),
    "foreign ids": (b'{"prompt": [5, 100000]}', 400, "outside the model's vocabulary"),
    "unknown field": (b'{"prompt": "a", "top_k": 3}', 400, "top_k is not supported by this server"),
    "two answers": (b'{"prompt": "a", "n": 2}', 400, "n: input should be 1"),
    "no temperature": (b'{"prompt": "a", "temperature": -1}', 400, "temperature: input should be greater than"),
    "too long": (json.dumps({"prompt": "word " * 400}).encode(), 400, "tokens, but the model's context holds 128"),
    "too much": (b'{"prompt": "a", "max_tokens": 128}', 400, "128 are to be generated"),
    "huge": (json.dumps({"prompt": "x" * 2_000_000}).encode(), 413, "larger than 1,048,576 bytes"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_bad_requests_get_a_sentence(url: str, case: str) -> None:
    body, status, sentence = MALFORMED[case]
    got, answer = post(url, "/v1/completions", body)
    assert got == status and sentence in answer["error"]["message"]


def test_bad_chats_and_strangers_get_a_sentence(url: str) -> None:
    status, answer = post(url, "/v1/chat/completions", b'{"messages": [{"role": "wizard", "content": "hi"}]}')
    assert status == 400 and "messages.0.role" in answer["error"]["message"]
    assert post(url, "/v1/completions", b'{"prompt": "a"}', {"Content-Type": "text/plain"})[0] == 415
    assert post(url, "/v1/embeddings", b"{}")[0] == 404


def test_web_pages_cannot_reach_the_model_by_a_name_of_their_own(url: str) -> None:
    import http.client
    from urllib.parse import urlsplit

    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request("GET", "/v1/models", headers={"Host": "evil.example"})
    assert connection.getresponse().status == 400


def test_token_timeout_and_full_queue(model_folder: Path) -> None:
    with running(model_folder, token="secret", limits=Limits(timeout_s=0.0)) as url:
        body = b'{"prompt": "a"}'
        assert post(url, "/v1/completions", body)[0] == 401
        assert post(url, "/v1/completions", body, {"Authorization": "Bearer wrong"})[0] == 401
        status, answer = post(url, "/v1/completions", body, {"Authorization": "Bearer secret"})
        assert status == 504 and "not ready in time" in answer["error"]["message"]
        ai = client(url, "secret")
        with pytest.raises(Exception, match="not ready in time"):
            list(ai.completions.create(model="tiny", prompt="a", stream=True))


def test_addresses_beyond_loopback_need_a_token() -> None:
    for host in ("127.0.0.1", "localhost", "::1"):
        check_address(host, None)
    for host in ("0.0.0.0", "192.168.0.4", "example.org", "::"):
        with pytest.raises(InputError, match="give a token"):
            check_address(host, None)
        check_address(host, "secret")


def test_vllm_is_chosen_with_a_gpu_and_gets_the_token_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert server.choose_backend() == "vllm"
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert server.choose_backend() == "transformers"
    command, environment = vllm_command("models/mine", "127.0.0.1", 8000, "secret")
    assert "secret" not in " ".join(command) and environment == {"VLLM_API_KEY": "secret"}
    assert command[command.index("--model") + 1] == "models/mine"


def test_models_beside_each_other_have_different_names() -> None:
    assert names_for(["runs/a/models/base", "org/mine"]) == {"base": "runs/a/models/base", "mine": "org/mine"}
    assert list(names_for(["runs/a/models/base", "runs/b/models/base"])) == ["runs/a/models/base", "runs/b/models/base"]
