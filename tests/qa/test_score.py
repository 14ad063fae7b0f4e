"""Scores: equal to the plain definition, whatever is shared, packed or truncated."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from pmc_llama.errors import InputError
from pmc_llama.model.load import load_for_inference
from pmc_llama.qa.encoding import encode_prompts
from pmc_llama.qa.prompts import render
from pmc_llama.qa.question import Question
from pmc_llama.qa.score import Scored, score

from .conftest import make_questions


def plain_logprobs(model: Any, tokenizer: Any, question: Question, limit: int = 96, **keys: Any) -> list[float]:
    """One forward pass an option over the whole input: the definition."""
    prompt = render(keys.pop("prompt", "lm-eval"), question, keys.get("answers"), keys.get("shots", ()))
    found = []
    for continuation in prompt.continuations:
        context = tokenizer(prompt.context)["input_ids"]
        part = tokenizer(prompt.context + continuation)["input_ids"][len(context) :]
        ids = torch.tensor([(context + part)[-(limit + 1) :]])
        with torch.no_grad():
            logprob = model(ids[:, :-1]).logits[0].float().log_softmax(-1)
        found.append(sum(logprob[-len(part) + j, token].item() for j, token in enumerate(part)))
    return found


def largest_difference(first: list[Scored], second: list[Scored]) -> float:
    pairs = zip(first, second, strict=True)
    return max(abs(a - b) for x, y in pairs for a, b in zip(x.option_logprobs, y.option_logprobs, strict=True))


@pytest.mark.parametrize("answers", ["letters", "texts"])
def test_equals_the_plain_definition(model: Any, tokenizer: Any, questions: list[Question], answers: Any) -> None:
    scored = score(model, tokenizer, questions, answers=answers, max_length=400)
    for one, question in zip(scored, questions, strict=True):
        expected = plain_logprobs(model, tokenizer, question, 400, answers=answers)
        assert one.option_logprobs == pytest.approx(expected, abs=2e-5)
        assert one.chosen == max(range(4), key=expected.__getitem__)
        assert not one.truncated
    assert [one.question_id for one in scored] == [question.question_id for question in questions]


@pytest.mark.parametrize("answers", ["letters", "texts"])
def test_shared_shots_change_nothing(model: Any, tokenizer: Any, questions: list[Question], answers: Any) -> None:
    shots = make_questions(2, seed=9)
    scored = score(model, tokenizer, questions, answers=answers, shots=[shots] * len(questions), max_length=400)
    for one, question in zip(scored, questions, strict=True):
        expected = plain_logprobs(model, tokenizer, question, 400, answers=answers, shots=shots)
        assert one.option_logprobs == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("answers", ["letters", "texts"])
def test_truncation_is_from_the_left_an_option_at_a_time(model: Any, tokenizer: Any, answers: Any) -> None:
    questions = make_questions(24, seed=4)
    scored = score(model, tokenizer, questions, answers=answers, max_length=40)
    assert sum(one.truncated for one in scored) > 0
    for one, question in zip(scored, questions, strict=True):
        expected = plain_logprobs(model, tokenizer, question, 40, answers=answers)
        assert one.option_logprobs == pytest.approx(expected, abs=2e-5)


def test_the_models_own_length_is_the_default_limit(model: Any, tokenizer: Any) -> None:
    questions = make_questions(6, seed=4)
    shots = [make_questions(3, seed=9)] * 6
    assert all(one.truncated for one in score(model, tokenizer, questions, shots=shots))
    assert not any(one.truncated for one in score(model, tokenizer, questions, shots=shots, max_length=4000))


@pytest.mark.parametrize("answers", ["letters", "texts"])
def test_batch_size_changes_nothing(model: Any, tokenizer: Any, questions: list[Question], answers: Any) -> None:
    results = [
        score(model, tokenizer, questions, answers=answers, batch_tokens=tokens, max_length=400)
        for tokens in (1, 300, 10**6)
    ]
    for other in results[1:]:
        assert largest_difference(results[0], other) <= 5e-5
        assert [one.chosen for one in other] == [one.chosen for one in results[0]]


def test_order_and_company_change_nothing(model: Any, tokenizer: Any, questions: list[Question]) -> None:
    whole = score(model, tokenizer, questions, answers="texts", max_length=400)
    back = score(model, tokenizer, questions[::-1], answers="texts", max_length=400)[::-1]
    half = score(model, tokenizer, questions[::2], answers="texts", max_length=400)
    assert largest_difference(whole, back) <= 5e-5
    assert largest_difference(whole[::2], half) <= 5e-5


def test_lengths_that_scores_are_divided_by(model: Any, tokenizer: Any) -> None:
    question = Question("made", "1", "Which?", ("drug", "höher dose", "heart liver", "cell"), 0, format="headqa")
    raw = score(model, tokenizer, [question])[0]
    assert raw.option_scores == raw.option_logprobs
    tokens = [
        len(tokenizer("Answer: " + text)["input_ids"]) - len(tokenizer("Answer:")["input_ids"])
        for text in question.options
    ]
    for normalise, lengths in {"chars": [4, 10, 11, 4], "bytes": [4, 11, 11, 4], "tokens": tokens}.items():
        one = score(model, tokenizer, [question], normalise=normalise)[0]  # type: ignore[arg-type]
        expected = [value / length for value, length in zip(raw.option_logprobs, lengths, strict=True)]
        assert one.option_scores == pytest.approx(expected, rel=1e-6)
        assert one.chosen == max(range(4), key=expected.__getitem__)


def test_ties_take_the_first_option_and_are_marked(model: Any, tokenizer: Any) -> None:
    questions = make_questions(8)
    assert not any(one.tie for one in score(model, tokenizer, questions, max_length=400))
    indifferent = copy.deepcopy(model)
    torch.nn.init.zeros_(indifferent.lm_head.weight)
    assert [(one.chosen, one.tie) for one in score(indifferent, tokenizer, questions, max_length=400)] == [
        (0, True)
    ] * 8


def test_bf16_weights_keep_an_fp32_softmax(
    model: Any, tokenizer: Any, questions: list[Question], tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    half = load_for_inference(tmp_path, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    scored = score(half, tokenizer, questions, max_length=400)
    values = torch.tensor([one.option_logprobs for one in scored], dtype=torch.float64)
    assert (values != values.bfloat16().double()).float().mean() > 0.9
    assert largest_difference(scored, score(model, tokenizer, questions, max_length=400)) < 0.5


def test_logits_of_options_are_not_rounded_to_bf16(
    model: Any, tokenizer: Any, questions: list[Question], tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    half = load_for_inference(tmp_path, dtype=torch.bfloat16)
    with torch.no_grad():
        half.lm_head.weight *= 64  # logits of a trained model's size, where bf16 has steps of 1/8 and more
    rounded_tie = 0
    for question in questions[:8]:
        one = score(half, tokenizer, [question], max_length=400)[0]
        prompt = render("lm-eval", question)
        encoded = encode_prompts(tokenizer, [prompt])[0]
        tokens = [part[0] for part in encoded.continuations]
        with torch.no_grad():
            hidden = half.model(torch.tensor([encoded.context])).last_hidden_state[0, -1]
        exact = hidden.double() @ half.lm_head.weight[tokens].double().T
        rounded_tie += len({*exact.bfloat16().tolist()}) < len({*exact.tolist()})
        found = torch.tensor(one.option_logprobs, dtype=torch.float64)
        torch.testing.assert_close(found - found[0], exact - exact[0], atol=1e-4, rtol=0)
        assert not one.tie and (found <= 0).all()
    assert rounded_tie, "nothing here would have been rounded away"


def test_scoring_leaves_the_model_as_it_was(model: Any, tokenizer: Any, questions: list[Question]) -> None:
    ids = torch.tensor([tokenizer("Question: which drug treats the heart?")["input_ids"]])
    with torch.no_grad():
        before = model(ids).logits
        score(model, tokenizer, questions, max_length=400)
        assert torch.equal(model(ids).logits, before)


def test_architectures_with_other_names(tokenizer: Any, questions: list[Question]) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=512, n_embd=32, n_layer=2, n_head=4, n_positions=400, initializer_range=0.3)
    other = GPT2LMHeadModel(config).eval()
    for one, question in zip(score(other, tokenizer, questions), questions, strict=True):
        assert one.option_logprobs == pytest.approx(plain_logprobs(other, tokenizer, question, 400), abs=2e-5)


def test_adapter_is_merged(model: Any, tokenizer: Any, questions: list[Question], tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    model.save_pretrained(tmp_path / "base")
    torch.manual_seed(1)
    tuned = get_peft_model(
        load_for_inference(tmp_path / "base"),
        LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False),
    )
    tuned.save_pretrained(tmp_path / "adapter")
    merged = load_for_inference(tmp_path / "base", tmp_path / "adapter")
    for one, question in zip(score(merged, tokenizer, questions, max_length=400), questions, strict=True):
        assert one.option_logprobs == pytest.approx(plain_logprobs(tuned, tokenizer, question, 400), abs=1e-4)


def test_what_cannot_be_scored_is_an_error(model: Any, tokenizer: Any) -> None:
    long = Question("made", "1", "Which?", ("drug", "heart " * 60), 0, format="headqa")
    with pytest.raises(InputError, match="does not fit the maximum length of 20 tokens"):
        score(model, tokenizer, [long], max_length=20)
    assert score(model, tokenizer, []) == []
