"""Prompts by name: what a model sees of a question, and the continuations that are scored after it.

`lm-eval` equals lm-evaluation-harness 0.4.13 byte for byte, data set by data set. `plain` shows the question alone and
scores the options' texts: right for models too small to have learnt letters. `chat` is the `lm-eval` prompt as a user's
turn in the tokenizer's own chat template, for tuned chat models. `pmc-llama-v1` is the template of
PMC-LLaMA's published tuning script and `pmc-llama-v2` the instruction form of its later paper; neither was published
for questions over an abstract, where the wording is ours.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from pmc_llama.errors import RecipeError
from pmc_llama.qa.body import Body, bare, lettered, listed
from pmc_llama.qa.question import Question
from pmc_llama.qa.tasks import kind_of

Answers = Literal["letters", "texts"]


class Prompt(msgspec.Struct, frozen=True):
    """What a model reads, and what may follow."""

    context: str
    continuations: tuple[str, ...]
    """One per option: a blank and the letter, word or text."""
    ending: str = ""
    """What follows the right continuation in tuning, before the end of text."""
    lead: str = ""
    """The end of `context` that is already part of the answer; generation starts before it."""
    chat: bool = False
    """Whether `context` is what a user says, to be put into the tokenizer's chat template before it is encoded."""

    @property
    def instruction(self) -> str:
        """The context without the beginning of the answer."""
        return self.context.removesuffix(self.lead)


def render(prompt: str, question: Question, answers: Answers | None = None, shots: Sequence[Question] = ()) -> Prompt:
    """The prompt named `prompt` for `question`, after `shots` (solved questions) separated by empty lines.

    `answers` None scores what the template is made for: letters where it lists the options, else their texts. Raises
    RecipeError for an unknown name, and for letters after a template that does not show them.
    """
    if prompt not in TEMPLATES:
        raise RecipeError(f"prompt {prompt!r} is not known; known: {', '.join(TEMPLATES)}")
    template = TEMPLATES[prompt]
    body = template(question)
    solved = [_solved(template(shot), shot, answers) for shot in shots]
    return Prompt(
        context=body.description + "\n\n".join([*solved, body.text]) + body.lead,
        continuations=tuple(
            ("" if body.chat else " ") + choice for choice in _choices(prompt, body, question, answers)
        ),
        ending=body.ending,
        lead=body.lead,
        chat=body.chat,
    )


def _solved(body: Body, shot: Question, answers: Answers | None) -> str:
    return f"{body.text}{body.lead} {_choices('', body, shot, answers)[shot.gold]}{body.ending}"


def _choices(prompt: str, body: Body, question: Question, answers: Answers | None) -> tuple[str, ...]:
    if answers == "texts" or (answers is None and not body.lists_options):
        return question.options
    if not body.lists_options and not question.words:
        raise RecipeError(
            f"prompt {prompt!r} does not show lettered options of {question.task!r}: score `answers: texts`"
        )
    return question.labels


def _lm_eval(question: Question) -> Body:
    kind = kind_of(question.format)
    if question.words or kind is None:
        return bare(question) if question.words else lettered(question)
    return kind.body(question)


def _pmc_llama_v1(question: Question) -> Body:
    if question.context is not None:
        task = f"According to the abstract, answer the question with {_either(question.options)}."
        text = f"You are a doctor. {task} Abstract: {question.context} Q: {question.question} The Answer is:"
        return Body(text, lists_options=False)
    options = listed(question, mark=": ", end=" ")
    task = "According to the question, make a choice."
    return Body(f"You are a doctor. {task} Q: {question.question} {options}The Answer is:")


_ALPACA = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
)
"""The wrapper of Stanford Alpaca, which PMC-LLaMA's instruction tuning used."""


def _pmc_llama_v2(question: Question) -> Body:
    abstract = f"###Context: {question.context}\n" if question.context is not None else ""
    shown = f"{abstract}###Question: {question.question}\n###Options:\n{_lettered(question)}"
    instruction = "You are a doctor. Answer the medical question by naming the option that is correct."
    return Body(_ALPACA.format(instruction=instruction, input=shown), lead="###Answer: OPTION", ending=" IS CORRECT.")


def _chat(question: Question) -> Body:
    return msgspec.structs.replace(_lm_eval(question), chat=True)


def _lettered(question: Question) -> str:
    return "".join(f"- {word}\n" for word in question.options) if question.words else listed(question)


def _either(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + f" or {words[-1]}"


TEMPLATES: dict[str, Callable[[Question], Body]] = {
    "lm-eval": _lm_eval,
    "plain": bare,
    "pmc-llama-v1": _pmc_llama_v1,
    "pmc-llama-v2": _pmc_llama_v2,
    "chat": _chat,
}
