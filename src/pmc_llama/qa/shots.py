"""Solved questions to show before each question: the harness' random draw, or the same few for all."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pmc_llama.errors import RecipeError
from pmc_llama.qa.question import Question
from pmc_llama.qa.tasks import kind_of, load_questions, one_label
from pmc_llama.qa.tasks.reading import say_once
from pmc_llama.recipe.qa import TaskSection

HARNESS_SEED = 1234
"""lm-evaluation-harness' default seed of the draw."""


def shot_pool(name: str, section: TaskSection, data_root: Path) -> list[Question]:
    """What the shots of a task come from: nothing if it has none, its training split if it has one, else its test."""
    if section.shots == 0:
        return []
    if section.train is not None:
        return load_questions(name, section, data_root, "train")
    return load_questions(name, section.model_copy(update={"limit": None}), data_root, "test")


def choose_shots(
    questions: Sequence[Question],
    pool: Sequence[Question],
    k: int,
    *,
    kind: Literal["fixed", "sampled"] = "fixed",
    seed: int = HARNESS_SEED,
) -> list[tuple[Question, ...]]:
    """`k` solved questions of `pool` for each question, never the question itself. MMLU's come from its own subject.

    `fixed`: the pool's first k, so that their part of the prompt is computed once; where options are answer words, the
    pool is put into a seeded order first, for PubMedQA's parts come label by label. `sampled`: as lm-evaluation-harness
    0.4.13 draws them, from one random stream that runs on from question to question; the shots then depend on the order
    of the questions. Raises RecipeError if the pool is too small.
    """
    if k == 0:
        return [()] * len(questions)
    if kind == "sampled":
        return _sampled(questions, pool, k, random.Random(seed))
    found = _fixed(questions, _mixed(pool), k)
    if one_label([shot for shots in found for shot in shots]):
        say_once(f"task {questions[0].task!r}: all its fixed shots have the same answer (see `shots_draw: sampled`)")
    return found


def _mixed(pool: Sequence[Question]) -> Sequence[Question]:
    if not all(shot.words for shot in pool):
        return pool
    mixed = list(pool)
    random.Random(0).shuffle(mixed)
    return mixed


def _fixed(questions: Sequence[Question], pool: Sequence[Question], k: int) -> list[tuple[Question, ...]]:
    found = []
    for question in questions:
        kind = kind_of(question.format)
        scoped = kind is not None and kind.shots_of_subject
        mine = [shot for shot in pool if not scoped or shot.subject == question.subject]
        found.append(tuple(_enough([shot for shot in mine[: k + 1] if not _same(shot, question)][:k], k, question)))
    return found


def _sampled(
    questions: Sequence[Question], pool: Sequence[Question], k: int, rng: random.Random
) -> list[tuple[Question, ...]]:
    """One more than needed is drawn where the pool is the tested split itself, and the question taken out."""
    tested = {question.question_id for question in questions}
    spare = 1 if any(shot.question_id in tested and shot.task == questions[0].task for shot in pool) else 0
    _enough(pool[: k + spare], k + spare, questions[0])
    return [
        tuple([shot for shot in rng.sample(pool, k + spare) if not _same(shot, question)][:k]) for question in questions
    ]


def _same(shot: Question, question: Question) -> bool:
    return (shot.task, shot.question_id) == (question.task, question.question_id)


def _enough(shots: Sequence[Question], k: int, question: Question) -> Sequence[Question]:
    if len(shots) < k:
        raise RecipeError(f"task {question.task!r}: {k} shots are asked for, but the pool has only {len(shots)}")
    return shots
