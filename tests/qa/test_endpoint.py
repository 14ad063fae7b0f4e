"""Models behind OpenAI's API: our own server, and one with faults; nothing is asked twice, and no key is shown."""

import math
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pmc_llama.errors import InputError
from pmc_llama.qa.backends import Model, local_backend, open_backend
from pmc_llama.qa.backends.endpoint_client import base_url
from pmc_llama.qa.prompts import render
from pmc_llama.qa.question import Question
from pmc_llama.recipe.models import ModelSection
from pmc_llama.recipe.qa import EvaluateSection, TaskSection

from .conftest import make_questions
from .faulty import Faulty, logprob, serving, words

pytest.importorskip("openai", reason="the extra `endpoint` is not installed")
WRITTEN = "written"


@pytest.fixture
def faulty() -> Faulty:
    return Faulty()


@pytest.fixture
def url(faulty: Faulty) -> Iterator[str]:
    with serving(faulty) as url:
        yield url


def task(**keys: Any) -> TaskSection:
    return TaskSection(format="medmcqa", test="dev.json", **keys)


def opened(url: str, evaluate: EvaluateSection | None = None, tokenizer: Any = None, **keys: Any) -> Any:
    section = ModelSection.model_validate({"endpoint": url, **keys})
    return open_backend(Model(section, evaluate or EvaluateSection(), tokenizer))


def test_log_likelihoods_are_sums_over_the_continuation(faulty: Faulty, url: str) -> None:
    questions = make_questions(7)
    evaluate = EvaluateSection(normalise="chars")
    model = opened(url, evaluate)
    found = model.answer(task(answers="texts"), questions)
    for question, one in zip(questions, found, strict=True):
        prompt = render("lm-eval", question, "texts")
        context = words(prompt.context)
        for option, said, score in zip(question.options, one.option_logprobs, one.option_scores, strict=True):
            parts = words(option)
            expected = sum(logprob([*context, *parts[:i]], part) for i, part in enumerate(parts))
            assert said == pytest.approx(expected, abs=1e-9)
            assert score == pytest.approx(expected / len(option), abs=1e-9)
        assert one.chosen == max(range(4), key=one.option_scores.__getitem__)
        assert (one.question_id, one.texts) == (question.question_id, None)
    assert len(faulty.asked) == 7 * 5  # each context once, and each option
    facts = model.describe()
    assert (facts.kind, facts.where, facts.revision) == ("endpoint", f"{url}/v1", "one")
    assert facts.asked == "log-probabilities of continuations"


def test_ids_are_sent_and_scored_as_here(
    model: Any, tokenizer: Any, questions: list[Question], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that holds the same model gives the scores of the model loaded here, cut contexts included."""
    import torch

    from . import faulty as served

    def answer(state: Faulty, body: dict[str, Any]) -> dict[str, Any]:
        ids = torch.tensor([body["prompt"]])
        with torch.inference_mode():
            logits = model(ids).logits[0].float().log_softmax(-1)
        logprobs = [None, *(logits[i, token].item() for i, token in enumerate(ids[0, 1:].tolist())), 0.0]
        listed = [None, *({"x": row.max().item()} for row in logits[:-1]), {"x": 0.0}]
        choice = {"text": "", "logprobs": {"token_logprobs": logprobs, "top_logprobs": listed}}
        return served._counted(state, choice, ids.shape[1], 1)

    monkeypatch.setattr(served, "_completion", answer)
    model.save_pretrained(tmp_path / "model")
    evaluate = EvaluateSection(precision="fp32", max_length=60, normalise="tokens")
    here = local_backend(tmp_path / "model", tokenizer, evaluate).answer(task(answers="texts"), questions)
    with serving(Faulty()) as url:
        there = opened(url, evaluate, tokenizer).answer(task(answers="texts"), questions)
    assert any(one.truncated for one in here)
    for ours, theirs in zip(here, there, strict=True):
        assert theirs.option_logprobs == pytest.approx(ours.option_logprobs, abs=1e-4)
        assert theirs.option_scores == pytest.approx(ours.option_scores, abs=1e-4)
        assert (theirs.chosen, theirs.truncated, theirs.option_greedy) == (
            ours.chosen,
            ours.truncated,
            ours.option_greedy,
        )


def test_our_own_server_writes_what_the_model_writes_here(tmp_path: Path) -> None:
    from release.tiny import save_model, tiny_model, tiny_tokenizer
    from serve.test_server import running

    tokenizer = tiny_tokenizer(tmp_path)
    save_model(tiny_model(tokenizer), tokenizer, tmp_path / "tiny")
    questions = [
        Question("made", f"q{i}", text, ("yes", "no", "maybe"), 0, format="pubmedqa", words=True)
        for i, text in enumerate(("Does zolimab lower blood pressure?", "Does blood lower pressure?", "Yes?"))
    ]
    evaluate = EvaluateSection.model_validate({"precision": "fp32", "generation": {"max_new_tokens": 6}})
    section = task(method="generation")
    here = local_backend(tmp_path / "tiny", tokenizer, evaluate).answer(section, questions)
    with running(tmp_path / "tiny") as url:
        asked = [opened(f"{url}/v1", evaluate), opened(url, evaluate, tokenizer)]
        for found in [model.answer(section, questions) for model in asked]:
            assert [one.chosen for one in found] == [one.chosen for one in here]
            assert [(one.parsed or "").strip() for one in found] == [(one.parsed or "").strip() for one in here]
        scored = opened(url, evaluate, tokenizer)
        found = scored.answer(task(), questions)
        assert scored.describe().asked == "log-probabilities of continuations"
    expected = local_backend(tmp_path / "tiny", tokenizer, evaluate).answer(task(), questions)
    assert [one.chosen for one in found] == [one.chosen for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.option_logprobs == pytest.approx(other.option_logprobs, abs=1e-4)
    assert here[0].chosen == 0


def test_the_best_way_that_a_server_offers_is_taken(faulty: Faulty, url: str) -> None:
    questions, likelihood = make_questions(3), task(prompt="chat")
    assert opened(url).answer(likelihood, questions)[0].texts == (faulty.says,)  # no template, no first tokens
    faulty.first = [("B", 0.5), (" A", 0.1), ("A", 0.15), ("C", 0.1), ("D", 0.05), ("x", 0.1)]
    model = opened(url)
    one = model.answer(likelihood, questions)[0]
    assert one.option_logprobs == pytest.approx([math.log(share) for share in (0.25, 0.5, 0.1, 0.05)])
    assert (one.chosen, one.option_greedy) == (1, (False, True, False, False))
    assert model.describe().asked == "log-probability of the first letter"
    faulty.echoes, faulty.first = False, None
    with pytest.raises(InputError, match=r"cannot answer task 'made': log-probabilities of continuations: .*`echo`"):
        opened(url, method="likelihood").answer(task(), questions)
    assert opened(url).answer(task(), questions)[0].chosen == 1  # read from what was written
    faulty.other_form = True
    assert opened(url).answer(task(), questions)[0].texts == (faulty.says,)
    words_asked = make_questions(2, words=True)
    faulty.first = [("yes", 0.9)]
    assert opened(url).answer(task(prompt="chat"), words_asked)[0].option_logprobs is None


def test_letters_that_are_not_listed_have_no_score(faulty: Faulty, url: str) -> None:
    faulty.echoes, faulty.first = False, [("C", 0.6), ("A", 0.3)]
    questions = make_questions(2)
    found = opened(url).answer(task(), questions)
    assert [(one.chosen, one.option_logprobs, one.texts) for one in found] == [(2, None, ("C",))] * 2
    faulty.first = [("The", 0.9)]
    found = opened(url, method="likelihood").answer(task(), questions)
    assert [(one.chosen, one.texts) for one in found] == [(-1, ("The",))] * 2


def test_chat_models_are_asked_as_they_want(faulty: Faulty, url: str) -> None:
    faulty.completes = False
    faulty.refuses = lambda body: "use 'max_completion_tokens' instead" if "max_tokens" in body else None
    found = opened(url).answer(task(method="generation"), make_questions(3))
    assert [one.chosen for one in found] == [1, 1, 1]
    assert {body["path"] for body in faulty.asked} == {"/v1/chat/completions"}
    assert {body["max_completion_tokens"] for body in faulty.asked} == {64}


def test_drawn_samples_have_seeds_of_their_own(faulty: Faulty, url: str) -> None:
    evaluate = EvaluateSection.model_validate({"generation": {"samples": 3, "temperature": 0.5}})
    found = opened(url, evaluate).answer(task(method="generation"), make_questions(2))
    assert found[0].texts == (faulty.says,) * 3
    assert len({body["seed"] for body in faulty.asked}) == 6
    assert {(body["temperature"], body["top_p"]) for body in faulty.asked} == {(0.5, 0.95)}


def test_no_more_requests_are_under_way_than_allowed(faulty: Faulty, url: str) -> None:
    faulty.delay_s = 0.05
    opened(url, concurrency=3).answer(task(method="generation"), make_questions(13))
    assert faulty.most_running == 3


def test_faults_are_tried_again_and_retry_after_is_obeyed(faulty: Faulty, url: str) -> None:
    questions, section = make_questions(1), task(method="generation")
    expected = opened(url).answer(section, questions)
    for fault in ("429 1", "500", "502", "503", "cut", "half", "slow"):
        faulty.times.clear()
        faulty.faults.append(fault)
        assert opened(url, timeout_s=1.0).answer(section, questions) == expected
        assert len(faulty.times) == 2
        assert fault != "429 1" or faulty.times[1] - faulty.times[0] >= 1
    faulty.faults.extend(["503", "500", "429 0.1"])
    assert opened(url).answer(section, questions) == expected
    assert not faulty.faults


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [("500", "status 500: broken"), ("no json", "not of OpenAI's form"), ("401", "requests without a key")],
)
def test_what_was_answered_is_kept_when_a_server_gives_up(
    faulty: Faulty, url: str, tmp_path: Path, fault: str, sentence: str
) -> None:
    questions, section = make_questions(12), task(method="generation")

    def break_down(body: dict[str, Any]) -> None:
        if len(faulty.asked) == 5:
            faulty.faults.extend([fault] * 1000)

    faulty.refuses = break_down
    with pytest.raises(InputError, match=sentence):
        opened(url, concurrency=2).answer(section, questions, journal=tmp_path)
    faulty.faults.clear()
    faulty.refuses = lambda body: None
    found = opened(url).answer(section, questions, journal=tmp_path)
    assert len(found) == 12
    assert max(Counter(faulty.prompts).values()) == 1
    assert opened(url).answer(section, questions, journal=tmp_path) == found
    assert len(faulty.asked) == 12


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[3]]
from qa.test_endpoint import opened, task
from qa.conftest import make_questions
opened(sys.argv[1], concurrency=1).answer(task(answers="texts"), make_questions(30), journal=Path(sys.argv[2]))
"""


def test_killed_and_resumed_asks_nothing_twice(faulty: Faulty, url: str, tmp_path: Path) -> None:
    faulty.delay_s = 0.01
    command = [sys.executable, "-c", SCRIPT, url, str(tmp_path), str(Path(__file__).parents[1])]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 120
    while len(faulty.asked) < 40 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.1)
    before = len(faulty.asked)
    assert 40 <= before < 150
    found = opened(url).answer(task(answers="texts"), make_questions(30), journal=tmp_path)
    assert len(found) == 30
    again = len(faulty.asked) - 150
    assert 0 <= again <= 5, "the question under way at most"


def test_caps_stop_before_they_are_passed_and_can_be_raised(faulty: Faulty, url: str, tmp_path: Path) -> None:
    questions, section = make_questions(20), task(method="generation")
    lengths = [len(words(render("lm-eval", one).instruction)) + 5 for one in questions]
    cap = sum(lengths) // 2
    with pytest.raises(InputError, match=r"max_tokens_total: \d+; raise it to go on: what was answered is kept"):
        opened(url, max_tokens_total=cap, concurrency=4).answer(section, questions, journal=tmp_path)
    asked = len(faulty.asked)
    assert 3 <= asked < 20
    spent = sum(len(words(prompt)) + 5 for prompt in faulty.prompts)
    assert spent <= cap
    with pytest.raises(InputError, match="max_tokens_total"):  # earlier answers count
        opened(url, max_tokens_total=cap, concurrency=4).answer(section, questions, journal=tmp_path)
    assert sum(len(words(prompt)) + 5 for prompt in faulty.prompts) <= cap
    prices = {"price_in": 1000.0, "price_out": 0.0}
    with pytest.raises(InputError, match=r"for 0\.\d+, and the next answer could pass max_cost"):
        opened(url, max_cost=spent / 1000, **prices).answer(section, questions, journal=tmp_path)
    found = opened(url, max_cost=100.0, **prices).answer(section, questions, journal=tmp_path)
    assert len(found) == 20
    assert len(faulty.asked) == 20
    faulty.counts = False
    with pytest.raises(InputError, match="does not count tokens"):
        opened(url, max_tokens_total=10**6).answer(section, questions)


def test_the_key_comes_from_its_variable_and_is_shown_nowhere(
    faulty: Faulty, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    questions, section = make_questions(2), task(method="generation")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-server")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-mine")
    opened(url).answer(section, questions)
    assert not any("of-another" in str(headers) or "of-mine" in str(headers) for headers in faulty.headers)
    with pytest.raises(InputError, match=r"environment variable MY_KEY \(`key_env`\) holds no key"):
        opened(url, key_env="MY_KEY").answer(section, questions)
    assert opened(url, key_env="MY_KEY").describe().where == f"{url}/v1"
    monkeypatch.setenv("MY_KEY", "sk-secret-123")
    model = opened(url, key_env="MY_KEY")
    model.answer(section, questions, journal=tmp_path, samples=tmp_path / "samples.jsonl")
    assert faulty.headers[-1]["authorization"] == "Bearer sk-secret-123"
    faulty.refuses = lambda body: "your key sk-secret-123 has no such model"
    with pytest.raises(InputError, match=r"refuses question 'q0' of task 'made': .*\(key\)") as error:
        model.answer(task(method="generation", prompt="chat"), questions)
    faulty.faults.append("401")
    with pytest.raises(InputError, match="refuses the key in MY_KEY: status 401"):
        model.answer(section, questions)
    shown = [str(error.value), repr(model.describe()), *capfd.readouterr()]
    assert not any("sk-secret" in text for text in shown)
    assert not any(b"sk-secret" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_the_only_model_is_taken_and_of_several_none(faulty: Faulty, url: str) -> None:
    faulty.models = ["one", "two"]
    with pytest.raises(InputError, match="has 2 models; say which by `model`: one, two"):
        opened(url).answer(task(method="generation"), make_questions(1))
    opened(url, model="two").answer(task(method="generation"), make_questions(1))
    assert faulty.asked[-1]["model"] == "two"


def test_an_address_where_nobody_listens_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pmc_llama.qa.backends.endpoint_client.TRIES", 0)
    with pytest.raises(InputError, match="cannot be reached, or cuts its answers"):
        opened("http://127.0.0.1:9", model="x").answer(task(method="generation"), make_questions(1))


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://a:8000", "http://a:8000/v1"),
        ("http://a:8000/", "http://a:8000/v1"),
        ("http://a:8000/v1/", "http://a:8000/v1"),
        ("https://a/v1beta/openai", "https://a/v1beta/openai"),
        ("https://a/some/where", "https://a/some/where/v1"),
    ],
)
def test_base_urls_with_and_without_a_version(given: str, used: str) -> None:
    assert base_url(given) == used
