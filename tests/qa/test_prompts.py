"""Prompts, byte for byte."""

import msgspec
import pytest

from pmc_llama.errors import RecipeError
from pmc_llama.qa.prompts import render
from pmc_llama.qa.question import Question

LETTERED = Question("t", "1", "Which?", ("one", "two", "three", "four"), 2, subject="college_biology", format="medqa")
ABSTRACT = Question(
    "t", "2", "Does it?", ("yes", "no", "maybe"), 1, context="One.\nTwo.", format="pubmedqa", words=True
)
LETTERS = (" A", " B", " C", " D")
TEXTS = (" one", " two", " three", " four")


def of(task_format: str) -> Question:
    return msgspec.structs.replace(LETTERED, format=task_format)


@pytest.mark.parametrize(
    ("question", "context", "continuations"),
    [
        (of("medqa"), "Question: Which?\nA. one\nB. two\nC. three\nD. four\nAnswer:", LETTERS),
        (of("medmcqa"), "Question: Which?\nChoices:\nA. one\nB. two\nC. three\nD. four\nAnswer:", LETTERS),
        (of("headqa"), "Question: Which?\nAnswer:", TEXTS),
        (
            of("mmlu"),
            "The following are multiple choice questions (with answers) about college biology.\n\n"
            "Which?\nA. one\nB. two\nC. three\nD. four\nAnswer:",
            LETTERS,
        ),
        (ABSTRACT, "Abstract: One.\nTwo.\nQuestion: Does it?\nAnswer:", (" yes", " no", " maybe")),
    ],
)
def test_lm_eval(question: Question, context: str, continuations: tuple[str, ...]) -> None:
    prompt = render("lm-eval", question)
    assert (prompt.context, prompt.continuations, prompt.ending) == (context, continuations, "")


def test_plain_scores_texts() -> None:
    assert render("plain", LETTERED).context == "Question: Which?\nAnswer:"
    assert render("plain", LETTERED).continuations == TEXTS
    assert render("plain", ABSTRACT).context == "Abstract: One.\nTwo.\nQuestion: Does it?\nAnswer:"


def test_pmc_llama_v1() -> None:
    prompt = render("pmc-llama-v1", LETTERED)
    assert prompt.context == (
        "You are a doctor. According to the question, make a choice. "
        "Q: Which? A: one B: two C: three D: four The Answer is:"
    )
    assert prompt.continuations == LETTERS
    assert render("pmc-llama-v1", ABSTRACT).continuations == (" yes", " no", " maybe")


def test_pmc_llama_v2_trains_on_the_whole_response() -> None:
    prompt = render("pmc-llama-v2", LETTERED)
    assert prompt.instruction.endswith(
        "### Input:\n###Question: Which?\n###Options:\nA. one\nB. two\nC. three\nD. four\n\n\n### Response:"
    )
    answer = prompt.context.removeprefix(prompt.instruction) + prompt.continuations[LETTERED.gold] + prompt.ending
    assert answer == "###Answer: OPTION C IS CORRECT."


def test_shots_stand_after_the_description() -> None:
    prompt = render("lm-eval", of("mmlu"), shots=[of("mmlu"), of("mmlu")])
    body = "Which?\nA. one\nB. two\nC. three\nD. four\nAnswer:"
    description = "The following are multiple choice questions (with answers) about college biology.\n\n"
    assert prompt.context == f"{description}{body} C\n\n{body} C\n\n{body}"
    texts = render("lm-eval", of("headqa"), shots=[of("headqa")])
    assert texts.context == "Question: Which?\nAnswer: three\n\nQuestion: Which?\nAnswer:"


def test_what_is_scored_can_be_chosen() -> None:
    assert render("lm-eval", LETTERED, "texts").continuations == TEXTS
    assert render("lm-eval", LETTERED, "letters").continuations == LETTERS
    assert render("plain", ABSTRACT, "letters").continuations == (" yes", " no", " maybe")
    with pytest.raises(RecipeError, match="does not show lettered options"):
        render("plain", LETTERED, "letters")
    with pytest.raises(RecipeError, match="prompt 'lm_eval' is not known; known: lm-eval, plain"):
        render("lm_eval", LETTERED)


def test_letters_equal_options() -> None:
    five = Question("t", "1", "Which?", ("a", "b", "c", "d", "e"), 4, format="medqa")
    assert render("lm-eval", five).continuations == (" A", " B", " C", " D", " E")
    assert "\nE. e\nAnswer:" in render("lm-eval", five).context
