"""A run with models that it did not make: asked beside its own, compared with them, resumed, and added one by one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from folders import byte_tokenizer
from pmc_llama.errors import InputError, RecipeError
from pmc_llama.pipeline.run import Pipeline, run_recipe
from pmc_llama.recipe import load_recipe
from pmc_llama.records.results import read_results
from release.tiny import save_model, tiny_model, tiny_tokenizer
from report.readback import mismatches

TINY = {"seq_len": 96, "global_batch": 4, "micro_batch": 4, "max_steps": 1, "precision": "fp32"}
QUESTIONS = 12


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_data(root: Path) -> None:
    text = "Paper {0} says that substance {0} lowers blood pressure in patients with hypertension. " * 15
    write_lines(
        root / "papers.jsonl", [{"id": f"d{i}", "pmcid": f"PMC{i}", "text": text.format(i)} for i in range(1, 13)]
    )
    write_lines(root / "train.jsonl", [question(100 + i) for i in range(QUESTIONS)])
    write_lines(root / "test.jsonl", [question(i) for i in range(QUESTIONS)])
    tokenizer = tiny_tokenizer(root)
    save_model(tiny_model(tokenizer, steps=1), tokenizer, root / "base")
    save_foreign(root)


def question(number: int) -> dict[str, Any]:
    words = ("zolimab", "placebo", "rest in bed", "12 mg", "hypertension", "x", "no", "maybe a longer answer", "weeks")
    options = {letter: words[(number * (3 + i) + i) % 9] for i, letter in enumerate("ABCD")}
    right = "ABCD"[number % 4]
    return {"question": f"Which is {number}?", "options": options, "answer_idx": right, "answer": options[right]}


def save_foreign(root: Path) -> None:
    """A model with a tokenizer of another kind."""
    from transformers import AutoTokenizer

    other = AutoTokenizer.from_pretrained(byte_tokenizer(root / "bytes"), trust_remote_code=False)
    save_model(tiny_model(other, seed=5, steps=1), other, root / "foreign")


def recipe(root: Path, run: str, **models: Any) -> dict[str, Any]:
    return {
        "name": run,
        "run_dir": str(root / run),
        "workers": 1,
        "data": {"root": str(root)},
        "corpus": {
            "sources": [{"name": "papers", "format": "jsonl", "paths": ["papers.jsonl"]}],
            "clean": {"profile": "raw"},
        },
        "tokenizer": {"path": "tokenizer.model"},
        "base": {"path": "base"},
        "pretrain": TINY | {"lr": 0.02, "max_steps": 3},
        "tasks": {"medqa": {"format": "medqa", "train": "train.jsonl", "test": "test.jsonl", "prompt": "plain"}},
        "regimes": {"zero_shot": {"kind": "zero_shot"}, "full": {"kind": "full", "tasks": ["medqa"], **TINY}},
        "evaluate": {"normalise": "tokens"},
        "models": models,
    }


def write_recipe(root: Path, run: str, **models: Any) -> Path:
    path = root / f"{run}.yaml"
    path.write_text(yaml.safe_dump(recipe(root, run, **models), sort_keys=False))
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a foreign model, and a finished run of base and adapted alone."""
    root = tmp_path_factory.mktemp("models")
    write_data(root)
    run_recipe(write_recipe(root, "first"))
    return root


def further(root: Path) -> dict[str, Any]:
    """A foreign folder that is tuned too, the model of another run, and a file of answers."""
    return {
        "foreign": {"path": "foreign", "tuned": True, "prompt": "lm-eval"},
        "earlier": {"run": str(root / "first"), "model": "full/adapted/seed-0"},
        "published": {"predictions": "first/predictions.parquet", "model": "zero_shot/adapted/seed-0"},
    }


@pytest.fixture(scope="module")
def field(place: Path) -> Path:
    """A finished run of five models."""
    path = write_recipe(place, "field", **further(place))
    run_recipe(path)
    return place / "field"


def test_every_model_answers_every_question_in_its_regimes(field: Path) -> None:
    answers = pl.read_parquet(field / "predictions.parquet")
    cells = answers.group_by("regime", "model", maintain_order=True).len().rows()
    untuned = [("zero_shot", name, QUESTIONS) for name in ("base", "adapted", "foreign", "earlier", "published")]
    assert cells == [*untuned, *(("full", name, QUESTIONS) for name in ("base", "adapted", "foreign"))]
    results = read_results(field / "results.json")
    assert results.compared == [(name, "adapted") for name in ("base", "foreign", "earlier", "published")]
    assert mismatches(field) == []


def test_answers_are_those_of_the_model_that_is_named(field: Path, place: Path) -> None:
    columns = ["question_id", "chosen", "option_logprobs"]
    mine = pl.read_parquet(field / "predictions.parquet").filter(regime="zero_shot")
    before = pl.read_parquet(place / "first" / "predictions.parquet")
    for model, regime in (("earlier", "full"), ("published", "zero_shot")):
        expected = before.filter(model="adapted", regime=regime).select(columns)
        assert mine.filter(model=model).select(columns).equals(expected)
    foreign = mine.filter(model="foreign").select(columns)
    assert not foreign.equals(mine.filter(model="base").select(columns))


def test_what_each_model_is_stands_in_the_run_and_on_the_page(field: Path, place: Path) -> None:
    from safetensors import safe_open

    known = json.loads((field / "models.json").read_text())
    assert set(known) == {"base", "adapted", "foreign", "earlier", "published"}
    with safe_open(place / "foreign" / "model.safetensors", "pt") as file:
        numbers = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118 - it is no mapping
    assert known["foreign"]["parameters"] == numbers
    assert known["foreign"]["tokenizer_sha256"] != known["base"]["tokenizer_sha256"]
    assert known["published"]["kind"] == "predictions"
    assert f"{numbers:,}".replace(",", "\u202f") in (field / "report.html").read_text()


def stale(path: Path, *settings: str) -> set[str]:
    return {work for work, reason in Pipeline(load_recipe(path, list(settings))).stale().items() if reason is not None}


def test_adding_a_model_scores_that_model_alone(place: Path, field: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, after = place / "field.yaml", {"evaluate", "report"}
    assert stale(path) == set()
    added = ["models.another={path: foreign}"]
    assert stale(path, *added) == {"score/zero_shot-another-seed-0/medqa"} | after
    capsys.readouterr()
    run_recipe(path, added, dry_run=True)
    said = capsys.readouterr().out
    assert "evaluate: would run: 2 of 10, first score/zero_shot-another-seed-0/medqa: not made yet" in said
    before = {file: file.stat().st_mtime_ns for file in field.glob("predictions/*/*/*.parquet")}
    run_recipe(path, added)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert "1 models asked 12 questions, 8 were up to date" in capsys.readouterr().out
    answers = pl.read_parquet(field / "predictions.parquet")
    same = [answers.filter(model=name, regime="zero_shot").drop("model") for name in ("another", "foreign")]
    assert not same[0].equals(same[1])  # asked with another prompt
    run_recipe(path)
    assert "another" not in (field / "results.json").read_text()


def test_a_prompt_is_chosen_on_training_questions(place: Path, field: Path) -> None:
    path = place / "field.yaml"
    asked = "models.chooser={path: foreign, tuned: true, prompt: {choose: [lm-eval, plain, pmc-llama-v1]}}"
    assert stale(path, asked) - {"evaluate", "report"} == {
        *("choose/chooser", "tune/full-chooser-seed-0", "score/full-chooser-seed-0/medqa"),
        "score/zero_shot-chooser-seed-0/medqa",
    }
    run_recipe(path, [asked])
    assert stale(path, asked) == set()
    choice = json.loads((field / "prompts" / "chooser.json").read_text())
    assert [one["prompt"] for one in choice["scores"]] == ["lm-eval", "plain", "pmc-llama-v1"]
    most = max(one["correct"] for one in choice["scores"])
    assert choice["chosen"] == next(one["prompt"] for one in choice["scores"] if one["correct"] == most)
    assert mismatches(field) == []
    fixed = f"models.chooser={{path: foreign, tuned: true, prompt: {choice['chosen']}}}"
    answers = pl.read_parquet(field / "predictions.parquet").filter(model="chooser")
    run_recipe(path, [fixed], retrain=True)
    assert pl.read_parquet(field / "predictions.parquet").filter(model="chooser").equals(answers)
    assert stale(path, asked.replace("[lm-eval, plain", "[plain, lm-eval")) >= {"choose/chooser"}
    run_recipe(path)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("models.foreign.shots=3", {"score/zero_shot-foreign-seed-0/medqa", "score/full-foreign-seed-0/medqa"}),
        (
            "models.foreign.prompt=chat",
            {
                *("tune/full-foreign-seed-0", "score/full-foreign-seed-0/medqa"),
                "score/zero_shot-foreign-seed-0/medqa",
            },
        ),
        ("models.earlier.model=base", {"score/zero_shot-earlier-seed-0/medqa"}),
        ("models.published.model=zero_shot/base/seed-0", {"score/zero_shot-published-seed-0/medqa"}),
        ("comparisons=[[base, adapted]]", set()),
    ],
)
def test_a_changed_model_reruns_its_own_cells(setting: str, expected: set[str], place: Path, field: Path) -> None:
    found = stale(place / "field.yaml", setting)
    assert found - {"evaluate", "report"} == expected
    assert "report" in found and ("evaluate" in found) == bool(expected)


def test_another_content_of_a_models_file_is_noticed(place: Path, field: Path) -> None:
    config = place / "foreign" / "generation_config.json"
    before = config.read_bytes()
    try:
        config.write_bytes(before + b"\n")
        found = {work for work in stale(place / "field.yaml") if work.startswith(("score", "tune"))}
    finally:
        config.write_bytes(before)
    assert found == {
        *("score/zero_shot-foreign-seed-0/medqa", "score/full-foreign-seed-0/medqa", "tune/full-foreign-seed-0"),
    }


def test_a_killed_run_goes_on_and_ends_alike(place: Path, field: Path, tmp_path: Path) -> None:
    raw = recipe(place, "field", **further(place)) | {"run_dir": str(tmp_path / "killed")}
    shutil.copytree(field, tmp_path / "killed", symlinks=True)
    for unscored in ("predictions", "stamps/score"):
        shutil.rmtree(tmp_path / "killed" / unscored)
    (tmp_path / "killed.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    command = [sys.executable, "-m", "pmc_llama.cli", "run", str(tmp_path / "killed.yaml")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: any(tmp_path.glob("killed/predictions/zero_shot-adapted*/medqa/*.parquet")), process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    answered = {file: file.stat().st_mtime_ns for file in tmp_path.glob("killed/predictions/*/*/*.parquet")}
    assert 2 <= len(answered) < 8
    run_recipe(tmp_path / "killed.yaml")
    assert {file: file.stat().st_mtime_ns for file in answered} == answered
    found, expected = (pl.read_parquet(run / "predictions.parquet") for run in (tmp_path / "killed", field))
    assert found.equals(expected)


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    deadline_s = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline_s
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({"gone": {"path": "no-such-folder"}}, r"models\.gone.*no-such-folder is not a folder"),
        ({"gone": {"predictions": "no-such.parquet"}}, r"models\.gone: no file matches 'no-such.parquet'"),
        ({"gone": {"run": "nowhere"}}, r"models\.gone: nowhere is not a run directory"),
        ({"gone": {"endpoint": "http://127.0.0.1:1", "key_env": "PMC_LLAMA_NO_SUCH"}}, "PMC_LLAMA_NO_SUCH is not set"),
    ],
)
def test_a_model_that_is_not_there_is_told_before_anything_is_run(
    models: dict[str, Any], message: str, place: Path
) -> None:
    path = write_recipe(place, "wrong", **models)
    with pytest.raises((RecipeError, InputError), match=message):
        run_recipe(path)
    assert not (place / "wrong" / "corpus").exists()


def test_answers_to_other_questions_are_refused_with_their_number(place: Path, field: Path, tmp_path: Path) -> None:
    shutil.copytree(place, tmp_path / "place", symlinks=True)
    root = tmp_path / "place"
    few = pl.read_parquet(root / "first" / "predictions.parquet").filter(regime="zero_shot", model="base")[3:]
    few.write_parquet(root / "few.parquet")
    path = write_recipe(root, "field", **further(root) | {"few": {"predictions": "few.parquet"}})
    with pytest.raises(InputError, match="no answer to 3 of 12 questions of task 'medqa'"):
        run_recipe(path)
