"""Training batches made of questions."""

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pmc_llama.errors import InputError
from pmc_llama.qa.encoding import encode_prompts
from pmc_llama.qa.examples import TuningBatches, tuning_batches
from pmc_llama.qa.prompts import render
from pmc_llama.recipe.training import TrainSection
from pmc_llama.train.batches import IGNORE, BatchSource, Rows

from .conftest import make_questions


def batches(
    tokenizer: Any, count: int = 23, *, loss_on: Any = "answer", seed: int = 0, **options: Any
) -> TuningBatches:
    section = TrainSection(**{"seq_len": 128, "global_batch": 5, **options})
    questions = make_questions(count)
    return tuning_batches(
        questions, prompt={"made": "lm-eval"}, tokenizer=tokenizer, options=section, loss_on=loss_on, seed=seed
    )


def documents(rows: Rows) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The (ids, labels) of each packed example; padding, which has no labels, is left out."""
    found = []
    for ids, positions, labels in zip(rows.ids, rows.position_ids, rows.labels, strict=True):
        starts = [*np.flatnonzero(positions == 0), len(ids)]
        for start, end in itertools.pairwise(starts):
            assert positions[start:end].tolist() == list(range(end - start))
            assert labels[start] == IGNORE
            if (labels[start:end] != IGNORE).any():
                found.append((tuple(ids[start:end].tolist()), tuple(labels[start:end].tolist())))
    return found


def test_conforms_to_the_contract(tokenizer: Any) -> None:
    source: BatchSource = batches(tokenizer)
    assert source.steps == 5
    assert source.coverage(2) == pytest.approx(10 / 23)
    assert source.coverage(5) == 1.0


def test_ids_are_those_that_scoring_reads(tokenizer: Any) -> None:
    questions = make_questions(23)
    expected = set()
    for question, one in zip(
        questions, encode_prompts(tokenizer, [render("lm-eval", q) for q in questions]), strict=True
    ):
        answer = [*one.continuations[question.gold], tokenizer.eos_token_id]
        expected.add((tuple(one.context + answer), tuple([IGNORE] * len(one.context) + answer)))
    source = batches(tokenizer)
    found = [document for step in range(source.steps) for document in documents(source.rows(step))]
    assert set(found) == expected
    assert len(found) == 23


def test_loss_on_everything(tokenizer: Any) -> None:
    for ids, labels in documents(batches(tokenizer, loss_on="all").rows(0)):
        assert labels == (IGNORE, *ids[1:])


def test_every_epoch_shows_every_question_once_in_another_order(tokenizer: Any) -> None:
    source = batches(tokenizer, epochs=3)
    assert source.steps == 14  # 69 examples in fives
    stream = [document for step in range(source.steps) for document in documents(source.rows(step))]
    assert set(Counter(stream).values()) == {3}
    assert len(documents(source.rows(13))) == 4
    assert batches(tokenizer, epochs=0.5).steps == 3
    assert batches(tokenizer, epochs=3, max_steps=2).steps == 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(world=st.integers(1, 7), step=st.integers(0, 8), seq_len=st.sampled_from([64, 100, 300]))
def test_ranks_share_the_global_batch(tokenizer: Any, world: int, step: int, seq_len: int) -> None:
    source = batches(tokenizer, epochs=2, seq_len=seq_len)
    whole = source.rows(step)
    assert whole.ids.shape[1] <= seq_len
    parts = [source.rows(step, rank, world) for rank in range(world)]
    assert sum(len(part.ids) for part in parts) == len(whole.ids)
    assert Counter(d for part in parts for d in documents(part)) == Counter(documents(whole))


def test_packs_short_examples_together(tokenizer: Any) -> None:
    tokens = sum(len(ids) for ids, _ in documents(batches(tokenizer, global_batch=23, seq_len=400).rows(0)))
    rows = batches(tokenizer, global_batch=23, seq_len=400).rows(0)
    assert len(rows.ids) <= tokens // 400 + 2


def test_long_examples_lose_their_beginning_and_are_counted(tokenizer: Any) -> None:
    whole = {ids for ids, _ in documents(batches(tokenizer, global_batch=23, seq_len=400).rows(0))}
    source = batches(tokenizer, global_batch=23, seq_len=50)
    cut = [ids for ids, _ in documents(source.rows(0))]
    assert sum(one.truncated for one in source.examples) == sum(len(ids) > 50 for ids in whole) > 0
    assert set(cut) == {ids[-50:] for ids in whole}


def test_batches_are_a_pure_function_of_the_step(tokenizer: Any) -> None:
    first, again = batches(tokenizer, epochs=2), batches(tokenizer, epochs=2)
    for step in (7, 0, 3):
        assert np.array_equal(first.rows(step).ids, again.rows(step).ids)
    assert first.fingerprint == again.fingerprint
    others = [batches(tokenizer, epochs=2, seed=1), batches(tokenizer, epochs=2, loss_on="all"), batches(tokenizer, 22)]
    assert len({first.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_instruction_prompt_trains_on_the_whole_response(tokenizer: Any) -> None:
    section = TrainSection(seq_len=512, global_batch=1)
    questions = make_questions(1)
    source = tuning_batches(
        questions, prompt="pmc-llama-v2", tokenizer=tokenizer, options=section, loss_on="answer", seed=0
    )
    [(_, labels)] = documents(source.rows(0))
    answer = tokenizer.decode([label for label in labels if label != IGNORE], skip_special_tokens=True)
    assert answer.strip() == f"###Answer: OPTION {'ABCD'[questions[0].gold]} IS CORRECT."


def test_no_questions_is_an_error(tokenizer: Any) -> None:
    with pytest.raises(InputError, match="no training questions"):
        batches(tokenizer, 0)
