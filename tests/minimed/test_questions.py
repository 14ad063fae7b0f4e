"""MiniMed's question files have the native keys and shapes of PubMedQA, MedMCQA and MedQA."""

import json
from collections import Counter
from pathlib import Path

import pytest

from pmc_llama.minimed.facts import build_world
from pmc_llama.minimed.questions import write_questions
from pmc_llama.recipe.minimed import MiniMedSection


@pytest.fixture(scope="module")
def qa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("qa")
    write_questions(build_world(MiniMedSection(), 0), 0, out)
    return out


def test_there_are_enough_direct_questions_for_statistics(qa: Path) -> None:
    rows = [json.loads(line) for line in (qa / "medmcqa/dev.json").read_text().splitlines()]
    assert len(rows) >= 120
    assert len({row["question"] for row in rows}) == len(rows) == len({row["id"] for row in rows})


def test_medmcqa_counts_answers_from_one(qa: Path) -> None:
    for name in ("train", "dev"):
        rows = [json.loads(line) for line in (qa / f"medmcqa/{name}.json").read_text().splitlines()]
        assert {row["cop"] for row in rows} == {1, 2, 3, 4}
        assert all(
            list(row)
            == ["question", "exp", "cop", "opa", "opb", "opc", "opd", "subject_name", "topic_name", "id", "choice_type"]
            for row in rows
        )


def test_medqa_answer_is_the_option_of_its_letter(qa: Path) -> None:
    for name in ("train", "test"):
        path = qa / f"medqa/US/4_options/phrases_no_exclude_{name}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert all(list(row["options"]) == ["A", "B", "C", "D"] for row in rows)
        assert all(row["options"][row["answer_idx"]] == row["answer"] for row in rows)
        assert {row["meta_info"] for row in rows} == {"step1", "step2&3"}


def test_pubmedqa_has_its_fields_and_an_official_half(qa: Path) -> None:
    entries = json.loads((qa / "pubmedqa/ori_pqal.json").read_text())
    truth = json.loads((qa / "pubmedqa/test_ground_truth.json").read_text())
    fields = [
        "QUESTION",
        "CONTEXTS",
        "LABELS",
        "MESHES",
        "YEAR",
        "reasoning_required_pred",
        "reasoning_free_pred",
        "final_decision",
        "LONG_ANSWER",
    ]
    assert all(list(entry) == fields and pmid.isdigit() for pmid, entry in entries.items())
    assert all(len(entry["CONTEXTS"]) == len(entry["LABELS"]) for entry in entries.values())
    assert {pmid: entries[pmid]["final_decision"] for pmid in truth} == truth
    rest = Counter(entry["final_decision"] for pmid, entry in entries.items() if pmid not in truth)
    assert rest == Counter(truth.values())
    assert all("{" not in text for entry in entries.values() for text in [entry["QUESTION"], *entry["CONTEXTS"]])
