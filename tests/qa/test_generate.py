"""Generated answers: explicit decoding, honest reading."""

import copy
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from pmc_llama.errors import PmcLlamaError, RecipeError
from pmc_llama.qa.encoding import encode_instructions
from pmc_llama.qa.generate import Decoding, generate, read_answers, transformers_generator, vllm_generator
from pmc_llama.qa.prompts import render
from pmc_llama.qa.question import Question
from pmc_llama.qa.score import score

from .conftest import make_questions

HOW = Decoding(max_new_tokens=6)


@pytest.fixture
def roomy(model: Any) -> Any:
    """The tiny model with room for whole prompts."""
    roomy = copy.deepcopy(model)
    roomy.config.max_position_embeddings = 400
    return roomy


def test_greedy_answers_are_the_models_own(roomy: Any, tokenizer: Any) -> None:
    questions = make_questions(6)
    prompts = encode_instructions(tokenizer, [render("lm-eval", question) for question in questions])
    found = generate(transformers_generator(roomy, tokenizer), tokenizer, questions, decoding=HOW)
    for one, prompt in zip(found, prompts, strict=True):
        ids = torch.tensor([prompt])
        with torch.no_grad():
            for _ in range(HOW.max_new_tokens):
                ids = torch.cat([ids, roomy(ids).logits[:, -1:].argmax(-1)], 1)
        written = ids[0, len(prompt) :].tolist()
        if tokenizer.eos_token_id in written:
            written = written[: written.index(tokenizer.eos_token_id)]
        assert one.texts == (tokenizer.decode(written, skip_special_tokens=True),)


def test_batches_and_the_checkpoints_settings_change_nothing(roomy: Any, tokenizer: Any) -> None:
    questions = make_questions(8)
    expected = generate(transformers_generator(roomy, tokenizer), tokenizer, questions, decoding=HOW)
    odd = copy.deepcopy(roomy)
    odd.generation_config = GenerationConfig(do_sample=True, temperature=5.0, repetition_penalty=9.0)
    again = generate(transformers_generator(odd, tokenizer, batch_tokens=1), tokenizer, questions[::-1], decoding=HOW)
    assert again[::-1] == expected


def test_samples_depend_on_seed_and_question_alone(roomy: Any, tokenizer: Any) -> None:
    questions = make_questions(4)
    how = Decoding(max_new_tokens=4, samples=3, temperature=2.0)
    generator = transformers_generator(roomy, tokenizer)
    first = generate(generator, tokenizer, questions, decoding=how)
    assert generate(generator, tokenizer, questions[2:], decoding=how) == first[2:]
    other = generate(generator, tokenizer, questions, decoding=Decoding(4, 3, 2.0, seed=1))
    assert [one.texts for one in other] != [one.texts for one in first]
    assert {len(one.texts) for one in first} == {3}


LETTERED = Question("t", "1", "Which?", ("one", "two", "three"), 0)


@pytest.mark.parametrize(
    ("texts", "chosen", "tie"),
    [
        (["B"], 1, False),
        ([""], -1, False),
        (["A", "B", "B"], 1, False),
        (["C", "A", "A", "C"], 2, True),
        (["", "I cannot say", "B"], 1, False),
        (["", "I cannot say"], -1, False),
    ],
)
def test_majority_of_what_could_be_read(texts: list[str], chosen: int, tie: bool) -> None:
    found = read_answers(LETTERED, texts)
    assert (found.chosen, found.tie) == (chosen, tie)


def test_instruction_models_write_the_whole_answer(tokenizer: Any) -> None:
    question = make_questions(1)[0]
    asked: list[str] = []

    def generator(prompts: Any, seeds: Any, how: Decoding) -> list[list[str]]:
        asked.extend(tokenizer.decode(prompt, skip_special_tokens=True) for prompt in prompts)
        return [["###Answer: OPTION B IS CORRECT."] for _ in prompts]

    [found] = generate(generator, tokenizer, [question], prompt="pmc-llama-v2")
    assert asked[0].endswith("### Response:")
    assert found.chosen == 1


def test_the_prompt_is_never_searched(tokenizer: Any) -> None:
    shots = [make_questions(2, seed=5)]
    [found] = generate(lambda prompts, *_: [["nonsense"]], tokenizer, make_questions(1), shots=shots)
    assert found.chosen == -1


def test_chat_template(tokenizer: Any, roomy: Any) -> None:
    question = make_questions(1)[0]
    with pytest.raises(RecipeError, match="needs a tokenizer with a chat template"):
        encode_instructions(tokenizer, [render("chat", question)])
    chatty = copy.deepcopy(tokenizer)
    chatty.chat_template = (
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}"
        "{% if add_generation_prompt %}[assistant]\n{% endif %}"
    )
    [ids] = encode_instructions(chatty, [render("chat", question)])
    assert ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer.decode(ids[1:]).lstrip() == f"[user] {render('lm-eval', question).context} [assistant]\n"
    assert len(score(roomy, chatty, [question], prompt="chat")[0].option_logprobs) == 4


def test_vllm_is_named_where_it_is_missing(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "vllm", None)
    with pytest.raises(PmcLlamaError, match=r"needs the extra `vllm`"):
        vllm_generator(tmp_path)
