import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from release.tiny import ANSWER, QUESTION
from report.chromium import Chromium, executable

SERVE = "the extra `serve` is not installed"
ASKED = QUESTION.removeprefix("Question: ").removesuffix("\nAnswer:")


@pytest.fixture(scope="module")
def url(model_folder: Path) -> Iterator[str]:
    import socket

    uvicorn = pytest.importorskip("uvicorn", reason=SERVE)
    pytest.importorskip("starlette", reason=SERVE)
    from pmc_llama.serve.playground import build_playground

    listening = socket.create_server(("127.0.0.1", 0))
    app = build_playground({"base": model_folder, "adapted": model_folder})
    web = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=web.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not web.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    web.should_exit = True
    thread.join(30)


FILL = """
(() => {
  document.getElementById("fewer").click();
  document.getElementById("question").value = %s;
  const inputs = document.querySelectorAll("#options input");
  %s.forEach((text, i) => { inputs[i].value = text; });
  document.getElementById("ask").click();
})()
"""
DRAWN = """
new Promise((done) => {
  const look = () => {
    const error = document.getElementById("error");
    if (!error.hidden) return done({ error: error.textContent });
    const busy = document.getElementById("result").hidden || document.getElementById("ask").disabled;
    if (busy) return setTimeout(look, 20);
    const bars = [...document.querySelectorAll(".bar")];
    done({
      widths: bars.map((bar) => bar.getBoundingClientRect().width / bar.parentElement.getBoundingClientRect().width),
      labels: [...document.querySelectorAll(".track")].map((track) => track.getAttribute("aria-label")),
      options: [...document.querySelectorAll(".bars dt")].map((term) => term.textContent),
      said: document.body.innerText,
    });
  };
  look();
})
"""


@pytest.mark.skipif(executable() is None, reason="no Chromium is installed")
def test_a_question_is_asked_and_bars_are_drawn(url: str, tmp_path: Path) -> None:
    options = ["no", ANSWER.strip(), "<b>maybe</b>"]
    with Chromium(tmp_path / "profile") as browser:
        browser.open(url)
        browser.run(FILL % (json.dumps(ASKED), json.dumps(options)))
        drawn = browser.run(DRAWN)
        browser.screenshot(tmp_path / "playground.png")
        problems = [
            event for event in browser.events if event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")
        ]
        requests = [event for event in browser.events if event["method"] == "Network.requestWillBeSent"]
    assert drawn["options"] == ["A. no", "B. yes", "C. <b>maybe</b>"]
    assert len(drawn["widths"]) == 6  # two models, three options
    assert drawn["widths"][2] > 0.9 and drawn["widths"][3] > 0.9  # yes, by both
    assert drawn["labels"][2].startswith("base: ") and drawn["labels"][3].startswith("adapted: ")
    assert "Not for clinical use" in drawn["said"]
    assert all(event["params"]["request"]["url"].startswith(url) for event in requests)
    assert not [event for event in problems if "favicon" not in json.dumps(event)]
    assert (tmp_path / "playground.png").stat().st_size > 10_000


def test_probabilities_are_the_scorers(url: str, model_folder: Path) -> None:
    import http.client
    from urllib.parse import urlsplit

    from pmc_llama.model.load import load_for_inference
    from pmc_llama.qa.question import Question
    from pmc_llama.qa.score import score
    from pmc_llama.stats.calibration import probabilities
    from pmc_llama.tokens.convert import hf_tokenizer

    def post(value: object) -> tuple[int, dict[str, object]]:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        connection.request("POST", "/score", json.dumps(value), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    asked = {"question": ASKED, "options": ["yes", "no"]}
    status, answer = post(asked)
    question = Question("t", "0", ASKED, ("yes", "no"), 0)
    tokenizer = hf_tokenizer(model_folder.parent / "tokenizer.model")
    (expected,) = score(load_for_inference(model_folder), tokenizer, [question], prompt="plain")
    assert status == 200 and answer["prompt"] == QUESTION
    assert answer["models"][0]["probabilities"] == pytest.approx(
        probabilities(expected.option_scores).tolist(), abs=1e-5
    )
    for wrong, sentence in (
        ({**asked, "options": ["one"]}, "options"),
        ({**asked, "prompt": "mine"}, "is none of"),
        ({**asked, "options": ["yes", "no " * 300]}, "does not fit"),
    ):
        status, answer = post(wrong)
        assert status == 400 and sentence in answer["error"]["message"]
