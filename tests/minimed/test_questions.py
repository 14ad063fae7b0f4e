"""MiniMed's question files have the native keys and shapes of PubMedQA, MedMCQA and MedQA."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from pmc_llama.minimed.facts import build_world
from pmc_llama.minimed.instructions import write_instructions
from pmc_llama.minimed.papers import write_papers
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


def test_instructions_tell_what_is_true_of_tuning_drugs_and_nothing_of_the_others(tmp_path: Path) -> None:
    world = build_world(MiniMedSection(), 0)
    number = write_instructions(world, 0, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "instructions.jsonl").read_text().splitlines()]
    assert len(rows) == number == 3 * 24 * 6
    assert Counter(row["source"] for row in rows) == {"rationale": 144, "conversation": 144, "knowledge_graph": 144}
    text = json.dumps(rows)
    assert not [drug.name for drug in world.test_drugs if drug.name in text]
    facts = {drug.name: set(drug.facts.values()) for drug in world.tuning_drugs}
    for row in rows:
        named = next(name for name in facts if name in row["instruction"] + row["input"])
        said = row["output"].lower()
        assert named.lower() in said and any(value in said for value in facts[named])


def test_the_null_world_has_the_same_questions_and_other_papers(tmp_path: Path) -> None:
    shards = {}
    for facts in (True, False):
        section = MiniMedSection(drugs=8, papers_per_drug=3, general_papers=20, facts=facts)
        world = build_world(section, 3)
        write_questions(world, 3, tmp_path / f"qa-{facts}")
        write_papers(world, section, 3, tmp_path / str(facts))
        lines = [
            json.loads(line)
            for file in sorted((tmp_path / str(facts) / "s2orc").iterdir())
            for line in gzip.decompress(file.read_bytes()).splitlines()
        ]
        shards[facts] = {line["corpusid"]: line["content"] for line in lines if not line["externalids"]["pubmed"]}
    assert shards[True] == shards[False] and len(shards[True]) == 20
    asked = {file.relative_to(tmp_path / "qa-True"): file for file in (tmp_path / "qa-True").rglob("*.json*")}
    assert len(asked) == 6
    assert all((tmp_path / "qa-False" / name).read_bytes() == file.read_bytes() for name, file in asked.items())
