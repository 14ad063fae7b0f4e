"""Which solved questions stand before a question."""

import random

import msgspec
import pytest

from pmc_llama.errors import RecipeError
from pmc_llama.qa.question import Question
from pmc_llama.qa.shots import choose_shots

from .conftest import make_questions


def test_sampled_shots_come_from_one_stream_that_runs_on() -> None:
    questions = make_questions(30)
    rng = random.Random(1234)
    for question, shots in zip(questions, choose_shots(questions, questions, 5, kind="sampled"), strict=True):
        drawn = rng.sample(questions, 6)
        assert list(shots) == [shot for shot in drawn if shot is not question][:5]


def test_a_pool_of_its_own_is_drawn_from_without_a_spare() -> None:
    questions = make_questions(10)
    pool = [
        msgspec.structs.replace(question, question_id=f"train-{i}") for i, question in enumerate(make_questions(20))
    ]
    rng = random.Random(7)
    for shots in choose_shots(questions, pool, 3, kind="sampled", seed=7):
        assert list(shots) == rng.sample(pool, 3)


def test_fixed_shots_are_the_first_and_never_the_question_itself() -> None:
    questions = make_questions(8)
    found = choose_shots(questions, questions, 3)
    assert found[7] == tuple(questions[:3])
    assert found[1] == (questions[0], questions[2], questions[3])
    assert choose_shots(questions, [], 0) == [()] * 8


def test_mmlu_shots_are_of_the_same_subject() -> None:
    def of(subject: str, i: int) -> Question:
        return Question("mmlu", f"{subject}/{i}", "Q?", ("a", "b"), 0, subject=subject, format="mmlu")

    pool = [of(subject, i) for subject in ("anatomy", "genetics") for i in range(3)]
    tested = [of("genetics", 9)]
    assert choose_shots(tested, pool, 2) == [(pool[3], pool[4])]


def test_too_small_a_pool_is_an_error() -> None:
    questions = make_questions(4)
    with pytest.raises(RecipeError, match="5 shots are asked for, but the pool has only 4"):
        choose_shots(questions, [msgspec.structs.replace(q, question_id="x" + q.question_id) for q in questions], 5)


def test_fixed_shots_of_answer_words_are_mixed_and_one_answer_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    by_label = sorted(make_questions(90, words=True), key=lambda one: one.gold)
    pool = [msgspec.structs.replace(one, question_id=f"t{i}") for i, one in enumerate(by_label)]
    [shots] = choose_shots(by_label[:1], pool, 5)
    assert len({shot.gold for shot in shots}) > 1
    assert not capsys.readouterr().out
    choose_shots(by_label[:1], [one for one in pool if one.gold == 0], 5)
    assert "'made': all its fixed shots have the same answer" in capsys.readouterr().out
