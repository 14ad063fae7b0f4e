"""The benchmarks' own files: what is read from good ones, and what is said about bad ones."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import yaml

from pmc_llama.errors import InputError, RecipeError
from pmc_llama.qa.show import show_questions
from pmc_llama.qa.tasks import load_questions, pubmedqa
from pmc_llama.recipe.qa import TaskSection
from pmc_llama.stats.macro_f1 import macro_f1

DEV_FOLDS = [
    "4daffc5b3788",
    "ac124bb6494f",
    "94451c5a49e1",
    "0c948336e965",
    "3d8cb16c75af",
    "0d29692f6bdb",
    "7f45f12920ef",
    "f3f0fca66603",
    "14464cb08765",
    "f1a6f7c29c5f",
]
MEDMCQA: dict[str, Any] = {"question": "Q?", "opa": "a", "opb": "b", "opc": "c", "opd": "d"}
MEDQA: dict[str, Any] = {"question": "Q?", "options": {"A": "a", "B": "b", "C": "c", "D": "d"}}


def load(path: Path, task_format: str, split: str = "test", **keys: Any) -> Any:
    section = TaskSection(format=task_format, **{split: path.name}, **keys)  # type: ignore[arg-type]
    return load_questions("task", section, path.parent, split)  # type: ignore[arg-type]


# --- PubMedQA


def test_pubmedqa_split_is_the_official_one(shared_data: Path) -> None:
    folder = shared_data / "qa" / "pubmedqa"
    raw = json.loads((folder / "ori_pqal.json").read_text())
    gold = {pmid: pubmedqa.LABELS.index(item["final_decision"]) for pmid, item in raw.items()}
    test, folds = pubmedqa.official_split(gold)
    assert pubmedqa.checksum(test) == "4217c8754078"
    assert pubmedqa.checksum(folds[0][0]) == "0cb26ad614d2"
    assert [pubmedqa.checksum(dev) for _, dev in folds] == DEV_FOLDS
    assert {len(train) for train, _ in folds} == {450}
    assert test == list(json.loads((folder / "test_ground_truth.json").read_text()))


def test_pubmedqa_loads_the_official_500_and_a_fold(shared_data: Path) -> None:
    path = shared_data / "qa" / "pubmedqa" / "ori_pqal.json"
    test = load(path, "pubmedqa", test_ids="test_ground_truth.json")
    assert Counter(question.subject for question in test) == {"yes": 276, "no": 169, "maybe": 55}
    fold = load(path, "pubmedqa", split="train", fold=0)
    assert pubmedqa.checksum(question.question_id for question in fold) == "0cb26ad614d2"
    assert len(load(path, "pubmedqa", split="train")) == 500
    assert not {question.question_id for question in test} & {question.question_id for question in fold}


def test_pubmedqa_majority_and_human_anchors(shared_data: Path) -> None:
    path = shared_data / "qa" / "pubmedqa" / "ori_pqal.json"
    raw = json.loads(path.read_text())
    test = load(path, "pubmedqa")
    gold = np.array([question.gold for question in test])
    expected = {"reasoning_required_pred": (0.780, 0.721920), "reasoning_free_pred": (0.904, 0.841823)}
    for field, (accuracy, f1) in expected.items():
        human = np.array([pubmedqa.LABELS.index(raw[question.question_id][field]) for question in test])
        assert (human == gold).mean() == pytest.approx(accuracy)
        assert macro_f1(gold, human) == pytest.approx(f1, abs=5e-7)
    assert (gold == 0).mean() == pytest.approx(0.552)
    assert macro_f1(gold, np.zeros_like(gold)) == pytest.approx(0.237113, abs=5e-7)


def test_pubmedqa_labelled_set_in_another_order_is_refused(shared_data: Path, tmp_path: Path) -> None:
    items = list(json.loads((shared_data / "qa" / "pubmedqa" / "ori_pqal.json").read_text()).items())
    random.Random(1).shuffle(items)
    path = tmp_path / "shuffled.json"
    path.write_text(json.dumps(dict(items)))
    with pytest.raises(InputError, match="another order"):
        load(path, "pubmedqa")


def pubmedqa_file(folder: Path, **decisions: str) -> Path:
    items = {
        pmid: {"QUESTION": f"Does {pmid}?", "CONTEXTS": ["One.", "Two."], "final_decision": decision}
        for pmid, decision in decisions.items()
    }
    path = folder / "pqa.json"
    path.write_text(json.dumps(items))
    return path


def test_pubmedqa_of_ones_own_is_split_by_test_ids(tmp_path: Path) -> None:
    path = pubmedqa_file(tmp_path, p1="yes", p2="no", p3="maybe")
    (tmp_path / "ids.json").write_text('{"p3": "maybe", "p1": "yes"}')
    assert [q.question_id for q in load(path, "pubmedqa", test_ids="ids.json")] == ["p3", "p1"]
    assert [q.question_id for q in load(path, "pubmedqa", split="train", test_ids="ids.json")] == ["p2"]
    assert load(path, "pubmedqa")[2].gold == 2
    assert load(path, "pubmedqa")[0].context == "One.\nTwo."


def test_pubmedqa_artificial_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubmedqa, "ARTIFICIAL", 5)
    monkeypatch.setattr(pubmedqa, "ARTIFICIAL_TRAIN", 3)
    path = pubmedqa_file(tmp_path, **{f"p{i}": "yes" for i in range(5)})
    ids = [f"p{i}" for i in range(5)]
    random.Random(0).shuffle(ids)
    assert [q.question_id for q in load(path, "pubmedqa", split="train")] == ids[:3]
    assert [q.question_id for q in load(path, "pubmedqa")] == ids[3:]


def test_pubmedqa_bad_files(tmp_path: Path) -> None:
    path = pubmedqa_file(tmp_path, p1="yes", p2="perhaps")
    with pytest.raises(
        InputError, match=r"pqa.json, question 'p2', field 'final_decision': expected one of yes, no, maybe"
    ):
        load(path, "pubmedqa")
    path = pubmedqa_file(tmp_path, p1="yes")
    (tmp_path / "ids.json").write_text('{"p1": "no"}')
    with pytest.raises(InputError, match=r"ids.json: says 'no' of question 'p1', but .*pqa.json says 'yes'"):
        load(path, "pubmedqa", test_ids="ids.json")
    (tmp_path / "ids.json").write_text('{"p9": "no"}')
    with pytest.raises(InputError, match="names question 'p9'"):
        load(path, "pubmedqa", test_ids="ids.json")
    with pytest.raises(InputError, match="`fold` belongs to the 1,000 labelled"):
        load(path, "pubmedqa", split="train", fold=3)
    path.write_text('{"p1": {"QUESTION": "Does it?", "CONTEXTS": []}}')
    with pytest.raises(
        InputError, match=r"pqa.json, question 'p1', field 'final_decision': is missing; the fields are"
    ):
        load(path, "pubmedqa")
    path.write_text('{"p1": {}, "p1": {}}')
    with pytest.raises(InputError, match="key 'p1' occurs twice"):
        load(path, "pubmedqa")


def test_pubmedqa_hub_rows(write_lines: Any) -> None:
    row = {"pubid": 7, "question": "Does it?", "context": {"contexts": ["One."]}, "final_decision": "no"}
    [question] = load(write_lines("rows.jsonl", row), "pubmedqa")
    assert (question.question_id, question.context, question.gold, question.subject) == ("7", "One.", 1, "no")
    with pytest.raises(InputError, match=r"rows\.jsonl, line 2, field 'pubid': question '7' stands already in"):
        load(write_lines("rows.jsonl", row, row), "pubmedqa")


# --- MedMCQA


def test_medmcqa_dev(shared_data: Path) -> None:
    questions = load(shared_data / "qa" / "medmcqa" / "dev.json", "medmcqa")
    assert len(questions) == 4183
    assert [Counter(q.gold for q in questions)[i] for i in range(4)] == [1348, 1085, 925, 825]
    assert Counter(q.kind for q in questions) == {"single": 2816, "multi": 1367}
    assert Counter(q.subject for q in questions)["Dental"] == 1318


@pytest.mark.parametrize(("cops", "golds"), [([1, 4, 2], [0, 3, 1]), ([0, 3, 2], [0, 3, 2])])
def test_medmcqa_counts_from_1_or_0(write_lines: Any, cops: list[int], golds: list[int]) -> None:
    path = write_lines("dev.json", *({**MEDMCQA, "id": str(i), "cop": cop} for i, cop in enumerate(cops)))
    assert [question.gold for question in load(path, "medmcqa")] == golds


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"cop": 1}, {"cop": 2}], r"dev.json, field 'cop': neither 0 nor 4"),
        ([{"cop": 0}, {"cop": 4}], r"dev.json, field 'cop': both 0 and 4"),
        ([{"cop": 4}, {}], r"line 2, field 'cop': has no gold answer"),
        ([{"cop": 3}, {"cop": -1}, {"cop": 0}], r"line 2, field 'cop': has no gold answer"),
        ([{"cop": 4}, {"cop": 7}], r"line 2, field 'cop': expected 1-4 .* found 7"),
        ([{"cop": 4}, {"cop": "x"}], r"line 2, field 'cop': expected a whole number, found 'x'"),
        ([{"cop": 4, "opc": None}], r"line 1, field 'opc': expected text, found None"),
        ([{"cop": 4, "question": "  "}], r"line 1, field 'question': expected text"),
        (
            [{"cop": 4, "id": "same"}, {"cop": 1, "id": "same"}],
            r"dev.json, line 2, field 'id': question 'same' stands already in .*dev.json, line 1",
        ),
    ],
)
def test_medmcqa_bad_rows(write_lines: Any, rows: list[dict[str, Any]], message: str) -> None:
    path = write_lines("dev.json", *({**MEDMCQA, "id": str(i), **row} for i, row in enumerate(rows)))
    with pytest.raises(InputError, match=message):
        load(path, "medmcqa")


def test_medmcqa_missing_column_and_broken_line(tmp_path: Path) -> None:
    path = tmp_path / "dev.json"
    path.write_text('{"cop": 4, "id": "1", "opa": "a", "question": "Q?"}\n')
    with pytest.raises(
        InputError, match="line 1, field 'opb': is missing; the fields are 'cop', 'id', 'opa', 'question'"
    ):
        load(path, "medmcqa")
    path.write_text(json.dumps({**MEDMCQA, "id": "1", "cop": 4}) + '\n{"cop": 1,\n')
    with pytest.raises(InputError, match="line 2: is not valid JSON"):
        load(path, "medmcqa")
    path.write_text("[3]")
    with pytest.raises(InputError, match="item 0: expected an object of fields, found 3"):
        load(path, "medmcqa")
    path.write_text("")
    with pytest.raises(InputError, match="is empty"):
        load(path, "medmcqa")
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        load(path, "medmcqa")
    path.unlink()
    with pytest.raises(InputError, match="no such file"):
        load(path, "medmcqa")


# --- MedQA


def test_medqa_test_set(shared_data: Path) -> None:
    questions = load(shared_data / "qa" / "medqa" / "US" / "4_options" / "phrases_no_exclude_test.jsonl", "medqa")
    assert [Counter(q.gold for q in questions)[i] for i in range(4)] == [353, 309, 346, 265]
    assert Counter(q.subject for q in questions) == {"step1": 679, "step2&3": 594}


def test_medqa_forms_agree(write_lines: Any) -> None:
    native = write_lines("native.jsonl", {**MEDQA, "answer_idx": "C", "answer": "c", "meta_info": "step1"})
    hub = write_lines(
        "hub.jsonl", {"sent1": "Q?", "ending0": "a", "ending1": "b", "ending2": "c", "ending3": "d", "label": 2}
    )
    pairs = [{"key": key, "value": value} for key, value in MEDQA["options"].items()]
    listed = write_lines("list.jsonl", {**MEDQA, "options": pairs, "answer_idx": "C"})
    read = [load(path, "medqa")[0] for path in (native, hub, listed)]
    assert len({(question.question, question.options, question.gold) for question in read}) == 1
    five = {**MEDQA, "options": {**MEDQA["options"], "E": "e"}, "answer_idx": "E"}
    assert load(write_lines("five.jsonl", five), "medqa")[0].labels == ("A", "B", "C", "D", "E")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, r"line 2, field 'answer_idx': is missing"),
        ({"answer_idx": "E"}, r"line 2, field 'answer_idx': expected one of A, B, C, D, found 'E'"),
        ({"answer_idx": "A", "answer": "b"}, r"line 2, field 'answer': 'b' is not option A"),
        (
            {"answer_idx": "A", "options": {"A": "a", "B": "b", "C": "c"}},
            r"line 2, field 'options': holds 3 options, expected 4",
        ),
        (
            {"answer_idx": "A", "options": {"A": "a", "C": "b"}},
            r"line 2, field 'options': expected texts under the letters",
        ),
        ({"answer_idx": "A", "options": "abcd"}, r"line 2, field 'options': expected texts under the letters"),
    ],
)
def test_medqa_bad_rows(write_lines: Any, row: dict[str, Any], message: str) -> None:
    path = write_lines("test.jsonl", {**MEDQA, "answer_idx": "A"}, {**MEDQA, **row})
    with pytest.raises(InputError, match=message):
        load(path, "medqa")


# --- HEAD-QA and MMLU


def test_headqa(shared_data: Path) -> None:
    folder = shared_data / "qa" / "headqa"
    train = load(folder / "train_HEAD_EN.json", "headqa", split="train")
    dev = load(folder / "dev_HEAD_EN.json", "headqa")
    assert (len(train), len(dev)) == (2657, 1366)
    assert ({len(q.options) for q in train}, {len(q.options) for q in dev}) == ({5}, {4})
    assert (sum(q.kind == "image" for q in train), sum(q.kind == "image" for q in dev)) == (68, 30)
    assert len({q.subject for q in dev}) == 6
    assert dev[0].gold == 3


def test_headqa_right_answer_is_found_by_its_number(tmp_path: Path) -> None:
    answers = [{"aid": 1, "atext": "a"}, {"aid": 2, "atext": "b"}]
    item = {"qid": "1", "qtext": "Q?", "ra": "2", "answers": answers, "image": ""}
    path = tmp_path / "dev.json"
    path.write_text(json.dumps({"exams": {"e1": {"category": "medicine", "data": [item]}}}))
    [question] = load(path, "headqa")
    assert (question.gold, question.question_id, question.subject, question.kind) == (1, "e1/1", "medicine", None)
    path.write_text(json.dumps({"exams": {"e1": {"data": [{**item, "ra": "0"}]}}}))
    with pytest.raises(
        InputError, match=r"exam 'e1', question 0, field 'ra': expected one of the answers' numbers \[1, 2\]"
    ):
        load(path, "headqa")


def test_headqa_bad_items(tmp_path: Path) -> None:
    answers = [{"aid": i, "atext": text} for i, text in enumerate("abc", 1)]
    item = {"qid": "1", "qtext": "Q?", "ra": "2", "answers": answers, "image": ""}
    path = tmp_path / "dev.json"
    for second, message in [
        ({"qid": "2", "answers": answers[:2]}, "field 'answers': holds 2 options, expected 3"),
        ({}, "field 'qid': question 'e1/1' stands already in .*question 0"),
    ]:
        path.write_text(json.dumps({"exams": {"e1": {"data": [item, {**item, **second}]}}}))
        with pytest.raises(InputError, match=f"dev.json, exam 'e1', question 1, {message}"):
            load(path, "headqa")


def test_mmlu_folder_and_file(tmp_path: Path) -> None:
    (tmp_path / "anatomy_test.csv").write_text('"Two\nlines, quoted",a,b,c,d,B\nQ?,1,2,3,4,D\n')
    questions = load(tmp_path / "anatomy_test.csv", "mmlu")
    assert [(q.question_id, q.gold, q.subject) for q in questions] == [
        ("anatomy/test/0", 1, "anatomy"),
        ("anatomy/test/1", 3, "anatomy"),
    ]
    assert questions[0].question == "Two\nlines, quoted"
    section = TaskSection(format="mmlu", test=".", subjects=["anatomy"])
    assert load_questions("task", section, tmp_path, "test") == questions
    with pytest.raises(InputError, match=r"expected one file clinical_knowledge_\*.csv, found 0"):
        load_questions("task", TaskSection(format="mmlu", test="."), tmp_path, "test")
    (tmp_path / "anatomy_test.csv").write_text("question,choice0,choice1,choice2,choice3,answer\nQ?,1,2,3,4,2\n")
    assert load(tmp_path / "anatomy_test.csv", "mmlu")[0].gold == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answer": 4}, r"line 2, field 'answer': expected 0 to 3, found 4"),
        ({"answer": None}, r"line 2, field 'answer': expected a whole number, found None"),
        ({"choices": ["a", "b"]}, r"line 2, field 'choices': holds 2 options, expected 4"),
        ({"choices": "abcd"}, r"line 2, field 'choices': expected a list of texts"),
    ],
)
def test_mmlu_bad_hub_rows(write_lines: Any, row: dict[str, Any], message: str) -> None:
    good = {"question": "Q?", "subject": "anatomy", "choices": ["a", "b", "c", "d"], "answer": 0}
    with pytest.raises(InputError, match=f"anatomy.jsonl, {message}"):
        load(write_lines("anatomy.jsonl", good, {**good, **row}), "mmlu")


@pytest.mark.parametrize(("row", "message"), [("Q?,1,2,3,A", "expected 6 columns"), ("Q?,1,2,3,4,F", "field 'answer'")])
def test_mmlu_bad_rows(tmp_path: Path, row: str, message: str) -> None:
    (tmp_path / "anatomy_test.csv").write_text(f"Q?,1,2,3,4,D\n{row}\n")
    with pytest.raises(InputError, match=f"anatomy_test.csv, line 2.*{message}"):
        load(tmp_path / "anatomy_test.csv", "mmlu")


def test_limit_draws_the_same_of_test_alone_whatever_the_file_is_sorted_by(write_lines: Any) -> None:
    """PubMedQA's first 276 test questions all have the answer yes."""
    rows = [{**MEDMCQA, "id": f"{i:02}", "cop": 1 + i // 25} for i in range(100)]
    path = write_lines("sorted.json", *rows)
    ids = [[one.question_id for one in load(path, "medmcqa", limit=count)] for count in (20, 60)]
    assert [len(one) for one in ids] == [20, 60] and set(ids[0]) < set(ids[1]) and ids[1] == sorted(ids[1])
    assert {one.gold for one in load(path, "medmcqa", limit=20)} == {0, 1, 2, 3}
    rows = [{**MEDMCQA, "id": str(i), "cop": 4} for i in range(5)]
    path = write_lines("dev.json", *rows)
    assert len(load(path, "medmcqa", limit=2)) == 2
    assert len(load(path, "medmcqa", split="train", limit=2)) == 5
    with pytest.raises(InputError, match=r"no file is given for its train split \(key tasks.task.train\)"):
        load_questions("task", TaskSection(format="medmcqa", test="dev.json"), path.parent, "train")


# --- BioASQ and one's own


def test_bioasq_takes_the_yes_no_questions(tmp_path: Path) -> None:
    items = [
        {
            "id": "1",
            "type": "yesno",
            "body": "Does it?",
            "exact_answer": "Yes",
            "snippets": [{"text": "s1"}, {"text": "s2"}],
        },
        {"id": "2", "type": "factoid", "body": "Which?", "exact_answer": [["x"]]},
        {"id": "3", "type": "yesno", "body": "Does it?", "exact_answer": ["no"], "snippets": []},
    ]
    path = tmp_path / "bioasq.json"
    path.write_text(json.dumps({"questions": items}))
    first, second = load(path, "bioasq")
    assert (first.gold, first.context, first.options) == (0, "s1\ns2", ("yes", "no"))
    assert (second.gold, second.context, second.question_id) == (1, None, "3")
    path.write_text(json.dumps({"questions": [{**items[0], "exact_answer": "perhaps"}]}))
    with pytest.raises(InputError, match="question 0, field 'exact_answer': expected one of yes, no, found 'perhaps'"):
        load(path, "bioasq")


OWN_RECIPE = """
mine:
  format: own
  test: mine.jsonl
  columns: {id: key, question: stem, options: [o1, o2, o3], answer: right}
"""


def test_ones_own_questions_from_five_lines(write_lines: Any) -> None:
    rows = [{"key": "k1", "stem": "Which?", "o1": "x", "o2": "y", "o3": "z", "right": right} for right in ("C", "B")]
    path = write_lines("mine.jsonl", rows[0], {**rows[1], "key": "k2"})
    section = TaskSection(**yaml.safe_load(OWN_RECIPE)["mine"])
    questions = load_questions("mine", section, path.parent, "test")
    assert [(q.question_id, q.gold, q.options) for q in questions] == [
        ("k1", 2, ("x", "y", "z")),
        ("k2", 1, ("x", "y", "z")),
    ]


def test_ones_own_csv_and_lists(tmp_path: Path, write_lines: Any) -> None:
    (tmp_path / "mine.csv").write_text("stem,a,b,right\nWhich?,x,y,2\n")
    columns = {"question": "stem", "options": ["a", "b"], "answer": "right", "first": 1}
    [question] = load(tmp_path / "mine.csv", "own", columns=columns)
    assert (question.gold, question.question_id) == (1, "test/0")
    listed = write_lines("mine.jsonl", {"stem": "Does it?", "o": ["yes", "no"], "right": "no", "about": "Text."})
    columns = {"question": "stem", "options": "o", "answer": "right", "context": "about"}
    [question] = load(listed, "own", columns=columns)
    assert (question.gold, question.context, question.labels) == (1, "Text.", ("yes", "no"))


@pytest.mark.parametrize(
    ("change", "first", "message"),
    [
        ({"right": 1}, None, r"line 1, field 'right': 1 is a number: say in `columns.first`"),
        ({"right": 4}, 1, r"line 1, field 'right': expected 1 to 3, found 4"),
        ({"right": "D"}, None, r"line 1, field 'right': expected one of A, B, C, found 'D'"),
        ({"o": ["x"]}, None, r"line 1, field 'o': expected 2 to 10 options, found 1"),
        ({"o": "x"}, None, r"line 1, field 'o': expected a list of texts, found 'x'"),
    ],
)
def test_ones_own_bad_rows(write_lines: Any, change: dict[str, Any], first: int | None, message: str) -> None:
    path = write_lines("mine.jsonl", {"stem": "Which?", "o": ["x", "y", "z"], "right": "A", **change})
    with pytest.raises(InputError, match=message):
        load(path, "own", columns={"question": "stem", "options": "o", "answer": "right", "first": first})


def test_ones_own_ids_and_option_counts(write_lines: Any) -> None:
    row = {"key": "k", "stem": "Which?", "o": ["x", "y"], "right": "A"}
    columns = {"id": "key", "question": "stem", "options": "o", "answer": "right"}
    with pytest.raises(InputError, match=r"mine.jsonl, line 2, field 'key': question 'k' stands already in .*line 1"):
        load(write_lines("mine.jsonl", row, row), "own", columns=columns)
    more = load(write_lines("mine.jsonl", row, {**row, "key": "l", "o": ["x", "y", "z"]}), "own", columns=columns)
    assert [len(question.options) for question in more] == [2, 3]
    by_key = {**row, "key": "l", "o": {"P": "x", "Q": "y"}, "right": "Q"}
    assert [one.gold for one in load(write_lines("mine.jsonl", row, by_key), "own", columns=columns)] == [0, 1]
    with pytest.raises(InputError, match=r"line 1, field 'stem': is missing; the fields are 'key', 'o', 'right'"):
        load(write_lines("mine.jsonl", {"key": "k", "o": ["x", "y"], "right": "A"}), "own", columns=columns)


def test_ones_own_answers_are_letters_or_texts_by_one_rule_for_the_file(write_lines: Any) -> None:
    columns = {"question": "stem", "options": "o", "answer": "right"}
    blood = {"stem": "Which?", "o": ["B", "A", "AB", "O"], "right": "A"}
    with pytest.raises(InputError, match=r"line 1, field 'right': 'A' is one option's letter and another's text"):
        load(write_lines("mine.jsonl", blood), "own", columns=columns)
    for rule, gold in (("letter", 0), ("text", 1)):
        [question] = load(write_lines("mine.jsonl", blood), "own", columns={**columns, "answer_is": rule})
        assert question.gold == gold
    texts = write_lines("mine.jsonl", blood, {**blood, "right": "O"})
    assert [question.gold for question in load(texts, "own", columns=columns)] == [1, 3]
    mixed = write_lines("mine.jsonl", {**blood, "o": ["x", "y"]}, {**blood, "o": ["x", "y"], "right": "y"})
    with pytest.raises(InputError, match=r"line 2, field 'right': expected one of A, B, found 'y'; one rule holds"):
        load(mixed, "own", columns=columns)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_ones_own_tables_may_be_separated_otherwise(tmp_path: Path, separator: str) -> None:
    rows = [("stem", "a", "b", "right"), ('"Which, and; why?"', "x", "y", "B")]
    (tmp_path / "mine.csv").write_text("".join(separator.join(row) + "\n" for row in rows))
    columns = {"question": "stem", "options": ["a", "b"], "answer": "right"}
    [question] = load(tmp_path / "mine.csv", "own", columns=columns)
    assert (question.question, question.options, question.gold) == ("Which, and; why?", ("x", "y"), 1)


def test_ones_own_broken_files(tmp_path: Path) -> None:
    columns = {"question": "stem", "options": ["a", "b"], "answer": "right"}
    (tmp_path / "mine.csv").write_text("stem,a,b,right\nWhich?,x,y,A\nWhich, then?,x,y,A\n")
    with pytest.raises(InputError, match=r"mine.csv, line 3: expected 4 columns as in the header, found 5"):
        load(tmp_path / "mine.csv", "own", columns=columns)
    (tmp_path / "mine.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(InputError, match=r"mine.parquet: is not a Parquet file"):
        load(tmp_path / "mine.parquet", "own", columns=columns)
    with pytest.raises(InputError, match=r"none.parquet: no such file of questions"):
        load(tmp_path / "none.parquet", "own", columns=columns)


def test_ones_own_needs_columns(write_lines: Any) -> None:
    with pytest.raises(RecipeError, match="needs `columns`"):
        load(write_lines("mine.jsonl", {}), "own")


def test_a_slice_of_one_label_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = pubmedqa_file(tmp_path, **{f"p{i}": "no" if i == 1 else "yes" for i in range(40)})
    load(path, "pubmedqa", limit=3)
    assert "the 3 questions of `limit` all have the same answer" in capsys.readouterr().out
    load(path, "pubmedqa")
    assert not capsys.readouterr().out


def test_show_prints_shots_and_the_chat_template(write_lines: Any) -> None:
    class Chatty:
        chat_template = "<user>{{ messages[0].content }}<assistant>"
        added_tokens_decoder: ClassVar[dict[int, Any]] = {}
        special_tokens_map: ClassVar[dict[str, str]] = {}

        def __len__(self) -> int:
            return 0

        def get_chat_template(self) -> str:
            return self.chat_template

    rows = [{**MEDMCQA, "id": f"m{i}", "question": f"Q{i}?", "cop": 1 + 3 * (i == 1)} for i in range(3)]
    path = write_lines("dev.json", *rows)
    section = TaskSection(format="medmcqa", test=path.name, prompt="chat", shots=1)
    text = show_questions("mcq", section, path.parent, n=2, tokenizer=Chatty())
    options = "Choices:\nA. a\nB. b\nC. c\nD. d\nAnswer:"
    assert f"<user>Question: Q1?\n{options} D\n\nQuestion: Q0?\n{options}<assistant>\n→ 'A'" in text
    assert "prompt chat, 1 shots\n" in text
    with pytest.raises(RecipeError, match="no tokenizer is given"):
        show_questions("mcq", section, path.parent)


def test_show_prints_what_the_model_sees(write_lines: Any) -> None:
    path = write_lines("dev.json", {**MEDMCQA, "id": "m1", "cop": 4, "subject_name": "Dental", "choice_type": "single"})
    text = show_questions("mcq", TaskSection(format="medmcqa", test=path.name), path.parent, n=3)
    assert text == (
        "mcq: 1 test questions, format medmcqa, prompt lm-eval\n\n"
        "──── m1 · Dental · single\n"
        "Question: Q?\nChoices:\nA. a\nB. b\nC. c\nD. d\nAnswer:\n"
        "  ' A'\n  ' B'\n  ' C'\n→ ' D'"
    )
