"""Odd requests, slow clients and clients that hang up: each harms nobody but itself."""

import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from pmc_llama.serve.engine import Engine, Limits
from release.tiny import ANSWER, QUESTION

from .test_server import post, running

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
ASKED = {"prompt": QUESTION, "max_tokens": 8}


@pytest.fixture(scope="module")
def url(model_folder: Path) -> Iterator[str]:
    with running(model_folder) as url:
        yield url


def complete(url: str, **body: Any) -> tuple[int, dict[str, Any]]:
    return post(url, "/v1/completions", json.dumps(ASKED | body).encode())


def chat(url: str, **body: Any) -> tuple[int, dict[str, Any]]:
    asked = {"messages": [{"role": "user", "content": "Does zolimab lower blood pressure?"}], "max_tokens": 8}
    return post(url, "/v1/chat/completions", json.dumps(asked | body).encode())


@pytest.mark.parametrize(
    "body", [b'{"prompt": "\xff\xfe"}', b"[" * 200_000 + b"]" * 200_000, b'{"a":' * 150_000 + b"1" + b"}" * 150_000]
)
def test_what_is_no_text_or_nested_deeply_is_a_400(url: str, body: bytes) -> None:
    status, answer = post(url, "/v1/completions", body)
    assert status == 400 and answer["error"]["message"]


@pytest.mark.parametrize("odd", [{"temperature": 1e-40}, {"temperature": 1, "top_p": 1e-300}, {"seed": 2**63}])
def test_extreme_settings_are_answered(url: str, odd: dict[str, Any]) -> None:
    status, answer = complete(url, **odd)
    assert status == 200 and answer["choices"][0]["text"] == ANSWER


def test_bounds_are_told(url: str) -> None:
    for odd in ({"seed": 2**64}, {"seed": -(2**63) - 1}, {"stop": ["x"] * 17}, {"stop": "x" * 1001}, {"max_tokens": 0}):
        status, answer = complete(url, **odd)
        assert status == 400 and next(iter(odd)) in answer["error"]["message"]


NEUTRAL = {
    "presence_penalty": 0, "frequency_penalty": 0.0, "logprobs": False, "logit_bias": {}, "tools": [], "store": False,
    "tool_choice": "none", "response_format": {"type": "text"}, "parallel_tool_calls": True, "metadata": {"a": "b"},
    "service_tier": "auto", "best_of": 1, "echo": False, "top_k": -1, "repetition_penalty": 1.0, "n": 1, "user": "me",
    "skip_special_tokens": True, "stream_options": {"include_usage": True},
}  # fmt: skip


def test_a_text_that_is_far_too_long_is_refused_before_it_is_encoded(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(model_folder) as url:
        long = "a " * 450_000
        monkeypatch.setattr("pmc_llama.serve.app.chat_ids", lambda *_: pytest.fail("encoded"))
        started_s = time.monotonic()
        for status, answer in (
            complete(url, prompt=long),
            complete(url, prompt=["short", long]),
            chat(url, messages=[{"role": "user", "content": long}]),
        ):
            assert status == 400
            assert "characters, but the model's context holds 128 tokens" in answer["error"]["message"]
        assert time.monotonic() - started_s < 5


def test_what_clients_send_without_meaning_anything_is_accepted(url: str) -> None:
    plain, sent = complete(url), complete(url, **NEUTRAL)
    assert sent[0] == 200 and sent[1]["choices"] == plain[1]["choices"]
    assert chat(url, **NEUTRAL)[0] == 200
    for name, value in {"presence_penalty": 1, "tools": [{}], "n": 2, "top_k": 5, "store": True}.items():
        status, answer = chat(url, **{name: value})
        assert status == 400 and name in answer["error"]["message"]


def test_messages_as_newer_clients_write_them(url: str) -> None:
    text = "Does zolimab lower blood pressure?"
    parts = [{"type": "text", "text": text[:10]}, {"type": "text", "text": text[10:]}]
    said = chat(url)[1]["choices"][0]["message"]["content"]
    turn = {"role": "user", "content": parts, "name": "me"}
    assert chat(url, messages=[turn])[1]["choices"][0]["message"]["content"] == said == ANSWER.strip()
    turns = [{"role": "developer", "content": "x"}, turn, {"role": "assistant", "content": "a", "refusal": None}, turn]
    assert chat(url, messages=turns)[0] == 200
    status, answer = chat(url, messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}])
    assert status == 400 and "text" in answer["error"]["message"]


def test_unknown_models_are_not_found(url: str) -> None:
    assert complete(url, model="tiny")[0] == 200
    status, answer = complete(url, model="another")
    assert (status, answer["error"]["code"]) == (404, "model_not_found") and "'tiny'" in answer["error"]["message"]


def test_the_token_is_taken_in_any_case(model_folder: Path) -> None:
    with running(model_folder, token="secret") as url:
        for said, status in (("bearer secret", 200), ("BEARER secret", 200), ("Basic secret", 401), ("secret", 401)):
            assert post(url, "/v1/completions", json.dumps(ASKED).encode(), {"Authorization": said})[0] == status


def test_several_prompts_in_one_request(url: str) -> None:
    status, answer = complete(url, prompt=[QUESTION, "Patients with", QUESTION])
    alone = [complete(url, prompt=one)[1]["choices"][0]["text"] for one in (QUESTION, "Patients with")]
    assert status == 200
    assert [(one["index"], one["text"]) for one in answer["choices"]] == [*enumerate([*alone, alone[0]])]
    assert complete(url, prompt=[[5, 6], [7]])[0] == 200
    assert complete(url, prompt=["a"] * 129)[0] == 400


def test_log_probabilities_of_prompt_and_answer(url: str, model_folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ids = AutoTokenizer.from_pretrained(model_folder)(QUESTION)["input_ids"]
    with torch.inference_mode():
        logits = AutoModelForCausalLM.from_pretrained(model_folder)(torch.tensor([ids])).logits[0]
    expected = logits.log_softmax(-1)
    _, answer = complete(url, prompt=ids, echo=True, logprobs=3, max_tokens=1)
    told = answer["choices"][0]["logprobs"]
    assert told["token_logprobs"][0] is None and len(told["tokens"]) == len(ids) + 1
    following = expected[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0].tolist()
    assert told["token_logprobs"][1:-1] == pytest.approx(following, abs=1e-4)
    assert max(told["top_logprobs"][-1].values()) == pytest.approx(float(expected[-1].max()), abs=1e-4)
    assert answer["choices"][0]["text"].startswith(QUESTION.split()[0])
    scored = complete(url, prompt=ids, echo=True, logprobs=0, max_tokens=0)[1]["choices"][0]
    assert scored["logprobs"]["token_logprobs"][1:] == pytest.approx(following, abs=1e-4)
    first = chat(url, logprobs=True, top_logprobs=2)[1]["choices"][0]["logprobs"]["content"][0]
    assert first["logprob"] == pytest.approx(first["top_logprobs"][0]["logprob"]) and len(first["top_logprobs"]) == 2


@contextmanager
def bounded(folder: Path, **bounds: float) -> Iterator[str]:
    """The server as the command starts it, with other bounds."""
    from pmc_llama.serve.app import build_app
    from pmc_llama.serve.connections import bounded_server

    listening = socket.create_server(("127.0.0.1", 0))
    request_s = bounds.pop("request_s", 20.0)
    server = bounded_server(build_app(Engine(folder)), "127.0.0.1", 0, answer_s=120, request_s=request_s)
    for name, value in bounds.items():
        setattr(server.config.http, name, value)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(30)
    for name in ("pmc_llama.serve.requests", "pmc_llama.serve", "uvicorn", "uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.filters, logger.propagate = [], [], True


def half_open(url: str) -> socket.socket:
    host, port = urlsplit(url).netloc.split(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n")
    return connection


def test_half_open_connections_end_and_make_room(model_folder: Path) -> None:
    with bounded(model_folder, most=10, request_s=1.5) as url:
        opened = [half_open(url) for _ in range(30)]
        assert complete(url)[0] == 200  # there is room for a request beside them
        begun = time.monotonic()
        assert all(ended(one) for one in opened) and time.monotonic() - begun < 15
        assert complete(url)[0] == 200


def ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(100) == b""
    except ConnectionError:
        return True


def test_a_client_that_hangs_up_frees_its_place(model_folder: Path) -> None:
    with running(model_folder, limits=Limits(batch=1)) as url:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        slow = json.dumps({"prompt": "Patients with", "max_tokens": 100, "temperature": 2.0, "seed": 1})
        for _ in range(40):
            connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
            connection.request("POST", "/v1/completions", slow, {"Content-Type": "application/json"})
            connection.close()
        begun = time.monotonic()
        assert complete(url)[0] == 200
        assert time.monotonic() - begun < 10  # 40 answers of 100 tokens would take far longer


def test_a_message_is_logged_once_with_how_often_it_came() -> None:
    from pmc_llama.serve.connections import OncePerMinute

    once = OncePerMinute()
    records = [logging.LogRecord("x", 30, "f", 1, f"message {i % 2}", (), None) for i in range(1000)]
    assert sum(once.filter(record) for record in records) == 2


def test_each_request_is_one_line_without_line_breaks(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pmc_llama.serve.requests")
    complete(url)
    post(url, "/a%0Ab%1B[31m", b"{}")
    end, lines = time.monotonic() + 10, list[str]()
    while len(lines) < 2 and time.monotonic() < end:  # a line is written when its answer is gone
        lines = [record.getMessage() for record in caplog.records if record.name == "pmc_llama.serve.requests"]
        time.sleep(0.01)
    assert len(lines) == 2 and "POST /v1/completions 200" in lines[0] and "tokens" in lines[0]
    assert "\n" not in lines[1] and "\x1b" not in lines[1] and "404" in lines[1]


def test_the_page_and_the_api_share_a_port(model_folder: Path) -> None:
    from starlette.testclient import TestClient

    from pmc_llama.serve.app import build_app
    from pmc_llama.serve.playground import Playground, page_routes

    engine = Engine(model_folder)
    app = build_app(engine, routes=page_routes(Playground({}, engine)))
    with TestClient(app, base_url="http://localhost") as client:
        assert "<html" in client.get("/").text.lower()
        question = "Does zolimab lower blood pressure?"
        shown = client.post("/score", json={"question": question, "options": ["no", "yes"]}).json()
        assert [one["model"] for one in shown["models"]] == ["tiny"]
        assert client.post("/v1/completions", json=ASKED).json()["choices"][0]["text"] == ANSWER
