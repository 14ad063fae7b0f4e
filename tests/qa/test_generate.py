"""Generated answers: explicit decoding, honest reading."""

import copy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from pmc_llama.errors import PmcLlamaError, RecipeError
from pmc_llama.qa.encoding import encode_instructions
from pmc_llama.qa.generate import generate, read_answers
from pmc_llama.qa.journal import Journal
from pmc_llama.qa.prompts import render
from pmc_llama.qa.question import Question
from pmc_llama.qa.score import score
from pmc_llama.qa.writers import TransformersWriter, VllmWriter
from pmc_llama.recipe.qa import GenerationSection

from .conftest import make_questions

HOW = GenerationSection(max_new_tokens=6)


class Says:
    """A writer that gives every prompt the same texts, and remembers what it was asked."""

    def __init__(self, *texts: str, max_length: int = 400) -> None:
        self.texts, self.max_length, self.asked = texts, max_length, []  # type: ignore[var-annotated]

    def write(self, prompts: Any, seeds: Any, how: GenerationSection) -> Any:
        self.asked += prompts
        yield from ((i, self.texts) for i in reversed(range(len(prompts))))


@pytest.fixture
def roomy(model: Any) -> Any:
    """The tiny model with room for whole prompts."""
    roomy = copy.deepcopy(model)
    roomy.config.max_position_embeddings = 400
    return roomy


def test_greedy_answers_are_the_models_own(roomy: Any, tokenizer: Any) -> None:
    questions = make_questions(6)
    prompts = encode_instructions(tokenizer, [render("lm-eval", question) for question in questions])
    found = generate(TransformersWriter(roomy, tokenizer), tokenizer, questions, how=HOW)
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
    expected = generate(TransformersWriter(roomy, tokenizer), tokenizer, questions, how=HOW)
    odd = copy.deepcopy(roomy)
    odd.generation_config = GenerationConfig(do_sample=True, temperature=5.0, repetition_penalty=9.0)
    again = generate(TransformersWriter(odd, tokenizer, batch_tokens=1), tokenizer, questions[::-1], how=HOW)
    assert again[::-1] == expected


def test_samples_depend_on_seed_and_question_alone(roomy: Any, tokenizer: Any) -> None:
    questions = make_questions(4)
    how = GenerationSection(max_new_tokens=4, samples=3, temperature=2.0)
    writer = TransformersWriter(roomy, tokenizer)
    first = generate(writer, tokenizer, questions, how=how)
    assert generate(writer, tokenizer, questions[2:], how=how) == first[2:]
    other = generate(writer, tokenizer, questions, how=how.model_copy(update={"seed": 1}))
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
    writer = Says("###Answer: OPTION B IS CORRECT.")
    [found] = generate(writer, tokenizer, make_questions(1), prompt="pmc-llama-v2")
    assert tokenizer.decode(writer.asked[0], skip_special_tokens=True).endswith("### Response:")
    assert found.chosen == 1


def test_the_prompt_is_never_searched(tokenizer: Any) -> None:
    shots = [make_questions(2, seed=5)]
    [found] = generate(Says("nonsense"), tokenizer, make_questions(1), shots=shots)
    assert found.chosen == -1


def test_prompts_that_do_not_fit_lose_their_beginning_and_are_marked(tokenizer: Any) -> None:
    questions = make_questions(12)
    whole = encode_instructions(tokenizer, [render("lm-eval", question) for question in questions])
    room = sorted(len(one) for one in whole)[6]
    writer = Says("B", max_length=room + HOW.max_new_tokens)
    found = generate(writer, tokenizer, questions, how=HOW)
    assert [one.truncated for one in found] == [len(one) > room for one in whole]
    assert writer.asked == [one[-room:] for one in whole]
    with pytest.raises(RecipeError, match="max_new_tokens: 6 leave no room for a question in a context of 6 tokens"):
        generate(Says("B", max_length=6), tokenizer, questions, how=HOW)


def test_goes_on_where_it_was_stopped(tokenizer: Any, tmp_path: Path) -> None:
    questions = make_questions(5)
    first = generate(Says("B"), tokenizer, questions[:3], journal=Journal(tmp_path, "key"))
    writer = Says("C")
    whole = generate(writer, tokenizer, questions, journal=Journal(tmp_path, "key"))
    assert (whole[:3], [one.chosen for one in whole[3:]], len(writer.asked)) == (first, [2, 2], 2)


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


def test_vllm_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(PmcLlamaError, match=r"needs the extra `vllm`"):
        VllmWriter(tmp_path)


class FakeLLM:
    """vLLM's class as far as we call it: echoes what it was given."""

    def __init__(self, **engine: Any) -> None:
        self.engine = engine
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=engine["max_model_len"] or 2048))

    def generate(self, prompts: Any, settings: Any, lora_request: Any) -> list[Any]:
        texts = [
            [f"{prompt['prompt_token_ids']} {one.seed} {lora_request}"] * one.n
            for prompt, one in zip(prompts, settings, strict=True)
        ]
        return [SimpleNamespace(outputs=[SimpleNamespace(text=text) for text in mine]) for mine in texts]


def test_vllm_is_asked_explicitly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vllm = SimpleNamespace(LLM=FakeLLM, SamplingParams=SimpleNamespace)
    request = SimpleNamespace(LoRARequest=lambda *given: given[:2])
    for name, module in {"vllm": vllm, "vllm.lora": SimpleNamespace(), "vllm.lora.request": request}.items():
        monkeypatch.setitem(sys.modules, name, module)  # type: ignore[arg-type]
    (tmp_path / "adapter_config.json").write_text('{"r": 24}')
    writer: Any = VllmWriter("base", adapter=tmp_path, precision="bf16", max_length=900)
    assert writer.max_length == 900
    assert writer._llm.engine == {
        "model": "base",
        "dtype": "bfloat16",
        "max_model_len": 900,
        "trust_remote_code": False,
        "generation_config": "vllm",
        "enable_lora": True,
        "max_lora_rank": 32,
    }
    how = GenerationSection(samples=2)
    assert list(writer.write([[1, 2], [3]], [7, 8], how)) == [
        (0, ("[1, 2] 7 ('adapter', 1)",) * 2),
        (1, ("[3] 8 ('adapter', 1)",) * 2),
    ]
