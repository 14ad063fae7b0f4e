"""Scoring by generation: the model writes, a parser reads, and what cannot be read counts as wrong.

Drawn answers depend on the seed and the question alone, so that they do not change with the number of processes or the
order.
"""

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from pmc_llama.errors import RecipeError
from pmc_llama.qa.encoding import encode_instructions
from pmc_llama.qa.journal import Journal
from pmc_llama.qa.parse import parse_answer
from pmc_llama.qa.prompts import Answers, render
from pmc_llama.qa.question import Question
from pmc_llama.qa.sharing import share
from pmc_llama.qa.writers import Writer
from pmc_llama.recipe.qa import GenerationSection


class Generated(msgspec.Struct, frozen=True):
    """What a model wrote about one question, and how it was read."""

    question_id: str
    texts: tuple[str, ...]
    """One a sample."""
    parsed: tuple[int, ...]
    """The option that each text names, −1 where it names none."""
    chosen: int
    """The option named most often, the earliest of them on a tie; −1 if no text could be read."""
    tie: bool
    truncated: bool = False
    """Whether the prompt was longer than the model takes, so that it lost its beginning."""


def generate(
    writer: Writer,
    tokenizer: Any,
    questions: Sequence[Question],
    *,
    prompt: str = "lm-eval",
    answers: Answers | None = None,
    how: GenerationSection | None = None,
    shots: Sequence[Sequence[Question]] | None = None,
    journal: Journal | None = None,
) -> list[Generated]:
    """Let a model answer questions, in their order. Only what it wrote is searched for an answer, never the prompt.

    `shots` and `journal` are as in `score`, and so are several processes. Raises RecipeError if the answer's longest
    length leaves no room for a prompt.
    """
    how = how or GenerationSection()
    room = writer.max_length - how.max_new_tokens
    if room < 1:
        raise RecipeError(
            f"evaluate.generation.max_new_tokens: {how.max_new_tokens} leave no room for a question in a context of"
            f" {writer.max_length} tokens"
        )
    solved = shots if shots is not None else [()] * len(questions)
    prompts = [render(prompt, one, answers, examples) for one, examples in zip(questions, solved, strict=True)]

    def work(todo: Sequence[int]) -> Iterator[tuple[int, Generated]]:
        ids = encode_instructions(tokenizer, [prompts[i] for i in todo])
        seeds = [zlib.crc32(f"{how.seed}/{questions[i].task}/{questions[i].question_id}".encode()) for i in todo]
        for place, texts in writer.write([one[-room:] for one in ids], seeds, how):
            yield todo[place], read_answers(questions[todo[place]], texts, truncated=len(ids[place]) > room)

    return share(len(questions), Generated, work, journal=journal, label="generate")


def read_answers(question: Question, texts: Sequence[str], *, truncated: bool = False) -> Generated:
    """Parse the texts written about one question and take the majority of those that could be read."""
    read = [parse_answer(text, question) for text in texts]
    parsed = tuple(-1 if one is None else one for one in read)
    votes = Counter(one for one in parsed if one >= 0).most_common()  # equal counts keep the order of first sight
    return Generated(
        question_id=question.question_id,
        texts=tuple(texts),
        parsed=parsed,
        chosen=votes[0][0] if votes else -1,
        tie=len(votes) > 1 and votes[0][1] == votes[1][1],
        truncated=truncated,
    )
