"""One call from a task's keys to answers: likelihood or writing, shots, journal, samples."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pmc_llama.errors import RecipeError
from pmc_llama.qa.backends import local_backend
from pmc_llama.qa.question import Question
from pmc_llama.qa.score import score
from pmc_llama.qa.shots import choose_shots, shot_pool
from pmc_llama.recipe.qa import EvaluateSection, TaskSection

from .conftest import make_questions

FP32 = EvaluateSection(precision="fp32", max_length=400)
WRITTEN = EvaluateSection.model_validate(
    {"precision": "fp32", "max_length": 400, "generation": {"max_new_tokens": 4, "samples": 2}}
)


@pytest.fixture(scope="module")
def folder(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    return folder


def task(**keys: Any) -> TaskSection:
    return TaskSection(format="medmcqa", test="dev.json", **keys)


def test_likelihood_is_what_score_gives(folder: Path, model: Any, tokenizer: Any, questions: list[Question]) -> None:
    pool = make_questions(9, seed=3)
    section = task(answers="texts", shots=2, shots_draw="sampled")
    evaluate = FP32.model_copy(update={"normalise": "chars"})
    found = local_backend(folder, tokenizer, evaluate).answer(section, questions, pool=pool)
    shots = choose_shots(questions, pool, 2, kind="sampled")
    expected = score(model, tokenizer, questions, answers="texts", normalise="chars", shots=shots, max_length=400)
    assert [(one.option_scores, one.chosen) for one in found] == [(one.option_scores, one.chosen) for one in expected]
    assert {(one.parsed, one.texts) for one in found} == {(None, None)}


def test_writing_gives_texts_and_what_they_were_read_as(folder: Path, tokenizer: Any, tmp_path: Path) -> None:
    questions, samples = make_questions(3), tmp_path / "samples.jsonl"
    found = local_backend(folder, tokenizer, WRITTEN).answer(task(method="generation"), questions, samples=samples)
    for one in found:
        assert one.option_logprobs is None
        assert one.texts is not None
        assert one.parsed == "\n⁂\n".join(one.texts)
    for line, one, question in zip(samples.read_text().splitlines(), found, questions, strict=True):
        sample = json.loads(line)
        assert sample["resps"] == [list(one.texts or ())]
        assert sample["filtered_resps"] == ["ABCD"[one.chosen] if one.chosen >= 0 else "[invalid]"]
        assert (sample["target"], sample["exact_match"]) == ("ABCD"[question.gold], one.chosen == question.gold)


@pytest.mark.parametrize(("method", "evaluate"), [("likelihood", FP32), ("generation", WRITTEN)])
def test_goes_on_and_starts_anew_with_other_settings(
    folder: Path, tokenizer: Any, questions: list[Question], tmp_path: Path, method: str, evaluate: EvaluateSection
) -> None:
    questions = questions[:6]
    section = task(method=method)
    answerer = local_backend(folder, tokenizer, evaluate)
    first = answerer.answer(section, questions, journal=tmp_path)
    path = tmp_path / "0.jsonl"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])  # killed while it wrote a line
    whole = answerer.answer(section, questions, journal=tmp_path)
    assert [(one.chosen, one.texts) for one in whole] == [(one.chosen, one.texts) for one in first]
    other = answerer.answer(task(method=method, prompt="pmc-llama-v1"), questions, journal=tmp_path)
    assert other != whole
    changed = [msgspec.structs.replace(questions[0], question="Which drug?"), *questions[1:]]
    assert answerer.answer(section, changed, journal=tmp_path)[0] != whole[0]
    assert answerer.answer(section, questions, journal=tmp_path) == whole


def test_pool_is_the_training_split_else_the_test_split(write_lines: Any) -> None:
    row = {"question": "Q?", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": 4}
    root = write_lines("dev.json", *({**row, "id": f"d{i}"} for i in range(3))).parent
    write_lines("train.json", {**row, "id": "t0"})
    assert shot_pool("m", task(train="train.json"), root) == []
    assert [one.question_id for one in shot_pool("m", task(train="train.json", shots=1), root)] == ["t0"]
    assert [one.question_id for one in shot_pool("m", task(shots=1, limit=1), root)] == ["d0", "d1", "d2"]


def test_vllm_writes_in_one_process_only(folder: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 0)
    evaluate = EvaluateSection.model_validate({"generation": {"engine": "vllm"}})
    with pytest.raises(RecipeError, match="start one process only"):
        local_backend(folder, tokenizer, evaluate).answer(task(method="generation"), make_questions(1))
