"""Question sets as the hub has them: each is shown as lm-evaluation-harness shows it, and says what is wrong."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pmc_llama.errors import InputError
from pmc_llama.qa.prompts import render
from pmc_llama.qa.question import Question
from pmc_llama.qa.shots import choose_shots
from pmc_llama.qa.tasks import load_questions
from pmc_llama.recipe.qa import TaskSection

GOLDEN = json.loads(Path(__file__).with_name("sets_golden.json").read_text())["sets"]
LETTERS = {letter: f"text {letter}" for letter in "ABCD"}


def write_rows(rows: list[dict[str, Any]], path: Path) -> Path:
    """The rows as a file of the kind that its suffix names; a path without one becomes a folder of Arrow files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        table = pa.Table.from_pylist(rows)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return path


def read(name: str, path: Path, **keys: Any) -> list[Question]:
    section = TaskSection(format=name, test=str(path), **keys)
    return load_questions("task", section, path.parent, "test")


def files_of(name: str, rows: list[dict[str, Any]], folder: Path) -> tuple[Path, dict[str, Any]]:
    """A set's file or folder, and the keys that it takes to read it."""
    if name == "mmlu_redux":
        write_rows(rows, folder / "test" / "anatomy.arrow")
        return folder / "test", {"subjects": ["anatomy"]}
    suffix = {"careqa": ".json", "medqa": ".jsonl"}.get(name, ".parquet")
    return write_rows(rows, folder / f"test{suffix}"), {}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_set_is_asked_as_the_harness_asks_it(name: str, tmp_path: Path) -> None:
    path, keys = files_of(name, GOLDEN[name]["rows"], tmp_path)
    questions = read(name, path, **keys)
    assert len(questions) == len(GOLDEN[name]["asked"])
    for question, asked in zip(questions, GOLDEN[name]["asked"], strict=True):
        prompt = render("lm-eval", question)
        assert prompt.context == asked["context"]
        if "gold" in asked:
            assert (list(prompt.continuations), question.gold) == (asked["continuations"], asked["gold"])


def test_medxpertqa_takes_its_options_out_of_the_question(tmp_path: Path) -> None:
    row = {"id": "Text-1", "options": LETTERS, "label": "C", "medical_task": "Diagnosis", "question_type": "Reasoning"}
    written = {**row, "question": "Which?\nAnswer Choices: (A) text A (B) text B"}
    [question] = read("medxpertqa", write_rows([written], tmp_path / "test.jsonl"))
    assert (question.question, question.gold, question.subject) == ("Which?", 2, "Diagnosis")
    assert render("lm-eval", question).context.startswith("Question: Which?\nA. text A\n")
    for change, message in (({"label": "E"}, "field 'label'"), ({"options": {"B": "x", "C": "y"}}, "field 'options'")):
        with pytest.raises(InputError, match=f"line 1, {message}"):
            read("medxpertqa", write_rows([{**written, **change}], tmp_path / "test.jsonl"))


def test_medbullets_leaves_out_a_letter_without_a_text(tmp_path: Path) -> None:
    row = {"idx": "7", "question": "Which?", "options": {**LETTERS, "E": ""}, "answer": "D"}
    [question] = read("medbullets", write_rows([row], tmp_path / "test.parquet"))
    assert (question.options, question.gold) == (tuple(LETTERS.values()), 3)


def test_subjects_are_chosen_and_shots_are_of_the_same_one(tmp_path: Path) -> None:
    rows = [
        {"question_id": i, "question": f"Q{i}?", "options": ["x", "y", "z"][: 2 + i % 2], "answer_index": 0}
        | {"category": category}
        for i, category in enumerate(["law", "health", "biology", "health", "health"])
    ]
    path = write_rows(rows, tmp_path / "test.parquet")
    medical = read("mmlu_pro", path)
    assert [one.question_id for one in medical] == ["1", "2", "3", "4"]
    assert [one.question_id for one in read("mmlu_pro", path, subjects=["law"])] == ["0"]
    [shots] = choose_shots(medical[3:], medical, 2)
    assert [one.question_id for one in shots] == ["1", "3"]
    mmlu = [{"question": "Q?", "choices": ["a", "b"], "answer": 1, "subject": name} for name in ("law", "anatomy")]
    path = write_rows(mmlu, tmp_path / "mmlu.parquet")
    assert [one.subject for one in read("mmlu", path, subjects=["anatomy"])] == ["anatomy"]
    assert [one.question_id for one in read("mmlu_all", path)] == ["law/test/0", "anatomy/test/1"]


def test_what_was_found_wrong_in_mmlu_is_not_asked(tmp_path: Path) -> None:
    row = {"question": "Q?", "choices": ["a", "b"], "answer": 1}
    rows = [{**row, "error_type": kind} for kind in ("wrong_groundtruth", "ok")]
    write_rows(rows, tmp_path / "test" / "virology.arrow")
    [question] = read("mmlu_redux", tmp_path / "test", subjects=["virology"])
    assert question.question_id == "virology/test/1"
    with pytest.raises(InputError, match=r"has no file anatomy\.arrow"):
        read("mmlu_redux", tmp_path / "test")


def test_careqa_says_what_has_no_question(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"cop": 4, **{f"op{i}": f"o{i}" for i in range(1, 5)}}
    rows = [{**row, "unique_id": "a", "question": None}, {**row, "unique_id": "b", "question": "Q?"}]
    [question] = read("careqa", write_rows(rows, tmp_path / "test.json"))
    assert (question.question_id, question.gold) == ("b", 3)
    assert "1 of 2 rows have no question" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("mmlu_pro", {"answer_index": 9}, "field 'answer_index': expected 0 to 3, found 9"),
        ("careqa", {"cop": 0}, "field 'cop': expected 1 to 4, found 0"),
        ("arc_easy", {"answerKey": "E"}, "field 'answerKey': expected one of A, B, C, D, found 'E'"),
        ("hellaswag", {"label": "4"}, "field 'label': expected 0 to 3, found 4"),
        ("mmlu_redux", {"answer": 4}, "field 'answer': expected 0 to 3, found 4"),
    ],
)
def test_a_wrong_answer_is_told_where_it_stands(name: str, change: Any, message: str, tmp_path: Path) -> None:
    path, keys = files_of(name, [{**GOLDEN[name]["rows"][0], **change}], tmp_path)
    with pytest.raises(InputError, match=message):
        read(name, path, **keys)
