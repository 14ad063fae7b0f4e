"""Kinds of models: a name for each, nothing imported before it is used, and the answers of a file."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from pmc_llama.errors import InputError
from pmc_llama.qa.backends import BACKENDS, Model, backend_kind, local_backend, open_backend
from pmc_llama.qa.question import Question
from pmc_llama.recipe.models import ModelSection
from pmc_llama.recipe.qa import EvaluateSection, TaskSection

from .conftest import make_questions

TASK = TaskSection(format="medmcqa", test="dev.json")


def test_every_kind_has_a_class_that_is_imported_when_it_is_used() -> None:
    script = "import sys, pmc_llama.qa.backends as b; print(*sorted({'torch', 'openai', 'pyarrow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout.strip() == b""
    assert set(BACKENDS) == {"folder", "vllm", "endpoint", "predictions"}
    vllm = EvaluateSection.model_validate({"generation": {"engine": "vllm"}})
    kinds = {
        "folder": Model(ModelSection(path="a"), EvaluateSection(), folder="a"),
        "vllm": Model(ModelSection(run="a"), vllm, folder="a"),
        "endpoint": Model(ModelSection(endpoint="http://a"), vllm),
        "predictions": Model(ModelSection(predictions="a"), vllm, file=Path("a")),
    }
    for kind, model in kinds.items():
        assert backend_kind(model) == kind
        assert f"{type(open_backend(model)).__module__}:{type(open_backend(model)).__name__}" == BACKENDS[kind]


def test_a_folder_says_what_it_is(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    backend = local_backend(tmp_path, tokenizer, EvaluateSection(precision="fp32"))
    facts = backend.describe()
    assert (facts.kind, facts.where, facts.revision) == ("folder", str(tmp_path), None)
    assert facts.parameters == sum(value.numel() for value in model.parameters())
    assert facts.dtype == "float32"
    assert facts.tokenizer_sha256 is not None
    snapshot = tmp_path / "models--o--n" / "snapshots" / "abc123"
    model.save_pretrained(snapshot)
    assert local_backend(snapshot, tokenizer, EvaluateSection()).describe().revision == "abc123"


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({}, "give exactly one of path, run, endpoint, predictions and merge; none is given"),
        ({"path": "a", "endpoint": "http://a"}, "path, endpoint are given"),
        ({"path": "a", "key_env": "KEY"}, "`key_env` does not belong to a model given by `path`"),
        ({"endpoint": "a:8000"}, "expected a URL"),
        ({"endpoint": "http://me:secret@a/v1"}, "may hold a key"),
        ({"endpoint": "https://a/v1?key=secret"}, "may hold a key"),
        ({"endpoint": "http://a", "key_env": "sk-secret"}, "not the key itself"),
        ({"endpoint": "http://a", "tuned": True}, "`tuned` needs weights"),
        ({"endpoint": "http://a", "max_cost": 1}, "`max_cost` needs `price_in` and `price_out`"),
        ({"predictions": "a", "prompt": "chat"}, "taken as they are"),
        ({"path": "a", "prompt": {"choose": ["chat", "chat"]}}, "names a prompt twice"),
    ],
)
def test_sections_that_cannot_be_meant_are_refused(keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        ModelSection.model_validate(keys)


def test_what_a_section_changes_is_declared() -> None:
    section = ModelSection(endpoint="http://a/", model="m", key_env="K", concurrency=2, max_tokens_total=5)
    assert section.settings("score") == {"endpoint": "http://a", "model": "m"}
    assert [(one.key, one.kind) for one in ModelSection(path="a", tokenizer="t").reads("score")] == [
        ("path", "model"),
        ("tokenizer", "tokenizer"),
    ]


def row(question: Question, **keys: Any) -> dict[str, Any]:
    cell = {"model": "adapted", "regime": "full", "seed": 0, "task": question.task}
    about = {"question_id": question.question_id, "chosen": 2, "gold": question.gold, "tie": True, "truncated": False}
    scores = {"option_logprobs": [-3.0, -2.0, -1.0, -4.0], "option_scores": [-3.0, -2.0, -1.0, -4.0], "parsed": None}
    return {**cell, **about, **scores, **keys}


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def opened(file: Path, which: str | None = None) -> Any:
    keys = {"predictions": str(file)} | ({"model": which} if which else {})
    return open_backend(Model(ModelSection.model_validate(keys), EvaluateSection(), file=file))


def test_answers_of_a_file_are_found_by_task_and_id(tmp_path: Path) -> None:
    questions = make_questions(3)
    other = msgspec.structs.replace(questions[0], task="other")
    texts = row(questions[1], option_logprobs=None, option_scores=None, parsed="B\n⁂\nB.", chosen=1, tie=False)
    file = written(tmp_path / "p.parquet", [row(other, chosen=0), texts, row(questions[0]), row(questions[2])])
    found = opened(file).answer(TASK, questions)
    assert [one.question_id for one in found] == ["q0", "q1", "q2"]
    assert [(one.chosen, one.tie) for one in found] == [(2, True), (1, False), (2, True)]
    assert found[0].option_logprobs == found[0].option_scores == (-3.0, -2.0, -1.0, -4.0)
    assert (found[1].texts, found[1].parsed, found[1].option_logprobs) == (("B", "B."), "B\n⁂\nB.", None)
    assert opened(file).answer(TASK, [other])[0].chosen == 0
    assert opened(file).describe().where == str(file)


def test_of_a_file_with_several_models_one_is_named(tmp_path: Path) -> None:
    [question] = make_questions(1)
    cells = [("base", "full", 0, 0), ("adapted", "full", 0, 1), ("adapted", "full", 1, 2), ("other", "zero_shot", 0, 3)]
    rows = [row(question, model=m, regime=r, seed=s, chosen=c) for m, r, s, c in cells]
    file = written(tmp_path / "p.parquet", rows)
    assert opened(file, "base").answer(TASK, [question])[0].chosen == 0
    assert opened(file, "full/adapted/seed-1").answer(TASK, [question])[0].chosen == 2
    for which, sentence in (
        (None, "several; say which by `model`: full/adapted/seed-0, full/adapted/seed-1, full/base/seed-0"),
        ("adapted", r"several; say which by `model`: full/adapted/seed-0, full/adapted/seed-1$"),
        ("nobody", "no model 'nobody'; it has full/adapted/seed-0"),
    ):
        with pytest.raises(InputError, match=sentence):
            opened(file, which).answer(TASK, [question])


def test_a_file_that_does_not_fit_is_refused_with_a_sentence(tmp_path: Path) -> None:
    questions = make_questions(9)
    rows = [row(one) for one in questions]
    with pytest.raises(InputError, match=r"no answer to 7 of 9 questions of task 'made': 'q2', .*, …; its tasks are"):
        opened(written(tmp_path / "a", rows[:2])).answer(TASK, questions)
    wrong = [row(one, gold=(one.gold + 1) % 4) for one in questions]
    with pytest.raises(InputError, match=r"its gold answer is option .* another version of the question"):
        opened(written(tmp_path / "b", wrong)).answer(TASK, questions)
    with pytest.raises(InputError, match="answered twice"):
        opened(written(tmp_path / "c", [rows[0], *rows])).answer(TASK, questions)
    with pytest.raises(InputError, match="the answer 7 does not fit a question of 4 options"):
        opened(written(tmp_path / "d", [row(questions[0], chosen=7)])).answer(TASK, questions[:1])
    with pytest.raises(InputError, match="lacks the column 'chosen'"):
        opened(written(tmp_path / "e", [{"task": "made", "question_id": "q0"}])).answer(TASK, questions)
    (tmp_path / "f").write_bytes(b"no parquet")
    with pytest.raises(InputError, match="no readable Parquet file"):
        opened(tmp_path / "f").answer(TASK, questions)
    with pytest.raises(InputError, match="there is no such file"):
        opened(tmp_path / "g").answer(TASK, questions)
