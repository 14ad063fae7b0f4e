"""A file of questions that is train and test is refused, whatever its name; official splits of one file are not."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from builders import small_recipe
from pmc_llama.checks.overlap import overlap_problems
from pmc_llama.recipe import parse_recipe

FULL = {"kind": "full", "tasks": ["medqa"]}


def write(path: Path, numbers: range) -> None:
    options = {"A": "x", "B": "y"}
    rows = [{"question": f"Which is {i}?", "options": options, "answer_idx": "A", "answer": "x"} for i in numbers]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "train.jsonl", range(5))
    write(tmp_path / "test.jsonl", range(5, 9))
    shutil.copy(tmp_path / "train.jsonl", tmp_path / "copy.jsonl")
    return tmp_path


def problems(root: Path, tasks: dict[str, dict[str, Any]], **regimes: dict[str, Any]) -> list[str]:
    value = small_recipe() | {"data": {"root": str(root)}, "run_dir": str(root / "run"), "regimes": regimes}
    tasks = {name: {"format": "medqa", **task} for name, task in tasks.items()}
    return list(overlap_problems(parse_recipe(value | {"tasks": tasks}), frozenset()))


def test_files_of_their_own_are_taken(root: Path) -> None:
    assert problems(root, {"medqa": {"train": "train.jsonl", "test": "test.jsonl"}}, full=FULL) == []


@pytest.mark.parametrize("regimes", [{"full": FULL}, {"few_shot": {"kind": "few_shot"}}])
def test_a_copy_under_another_name_is_refused(root: Path, regimes: dict[str, Any]) -> None:
    (found,) = problems(root, {"medqa": {"train": "train.jsonl", "test": "copy.jsonl"}}, **regimes)
    assert found.startswith("tasks.medqa.test") and "5 of its questions are in both" in found


def test_the_training_questions_of_another_task_are_refused_where_they_are_tuned_on(root: Path) -> None:
    tasks = {"medqa": {"train": "train.jsonl"}, "other": {"test": "copy.jsonl"}}
    (found,) = problems(root, tasks, full=FULL)
    assert "tasks.medqa.train" in found and found.startswith("tasks.other.test")
    assert problems(root, tasks, zero_shot={"kind": "zero_shot"}) == []


def test_instructions_that_are_a_test_file_are_refused(root: Path) -> None:
    tasks = {"medqa": {"test": "test.jsonl"}}
    (found,) = problems(root, tasks, instruct={"kind": "instruct", "files": ["test.jsonl"]})
    assert found.startswith("regimes.instruct.files") and "tasks.medqa.test" in found


def test_splits_of_one_file_are_no_overlap(root: Path) -> None:
    rows = {str(i): {"QUESTION": f"Is {i}?", "CONTEXTS": ["x"], "final_decision": "yes"} for i in range(6)}
    (root / "labelled.json").write_text(json.dumps(rows))
    (root / "ids.json").write_text(json.dumps({"4": "yes", "5": "yes"}))
    task = {"format": "pubmedqa", "train": "labelled.json", "test": "labelled.json"}
    regime = {"kind": "full", "tasks": ["pubmedqa"]}
    assert problems(root, {"pubmedqa": task | {"test_ids": "ids.json"}}, full=regime) == []
    assert "6 of its questions" in problems(root, {"pubmedqa": task}, full=regime)[0]
