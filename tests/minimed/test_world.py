"""MiniMed's world: the same for the same seed, facts in the PMC papers alone, drugs split, questions without cues."""

import gzip
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from pmc_llama.errors import RecipeError
from pmc_llama.files import sha256_file
from pmc_llama.minimed.facts import build_world
from pmc_llama.minimed.fields import load_prose
from pmc_llama.minimed.questions import write_questions
from pmc_llama.minimed.world import write_world
from pmc_llama.recipe.minimed import MiniMedSection

SMALL = MiniMedSection(drugs=16, papers_per_drug=12, general_papers=64, vocab_size=1024)
NATIVE = Path("qa/medqa/US/4_options")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world")
    write_world(SMALL, 0, out)
    return out


def _hashes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def _gzip_lines(folder: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line) for path in sorted(folder.glob("*.gz")) for line in gzip.open(path, "rt", encoding="utf-8")
    ]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _options(row: dict[str, Any]) -> tuple[list[str], int]:
    if "cop" in row:
        return [row["opa"], row["opb"], row["opc"], row["opd"]], row["cop"] - 1
    return list(row["options"].values()), "ABCD".index(row["answer_idx"])


def test_same_seed_same_bytes_and_another_seed_another_world(world: Path, tmp_path: Path) -> None:
    write_world(SMALL, 0, tmp_path / "again")
    write_world(SMALL, 1, tmp_path / "other")
    assert _hashes(tmp_path / "again") == _hashes(world)
    assert not set(_hashes(tmp_path / "other").values()) & set(_hashes(world).values())


def test_world_json_is_what_was_written_and_returned(world: Path, tmp_path: Path) -> None:
    returned = write_world(SMALL, 0, tmp_path)
    assert json.loads((world / "world.json").read_text()) == json.loads((tmp_path / "world.json").read_text())
    assert returned.papers.records == len(_gzip_lines(world / "s2orc"))
    for name, count in returned.questions.items():
        path = world / "qa" / name
        rows = json.loads(path.read_text()) if name.startswith("pubmedqa") else _lines(path)
        assert len(rows) == count


def test_facts_stand_in_pmc_papers_alone(world: Path) -> None:
    drugs = json.loads((world / "world.json").read_text())
    names = [*drugs["tuning_drugs"], *drugs["test_drugs"]]
    pmc_ids = {
        row["corpusid"] for row in _gzip_lines(world / "papers") if row["externalids"]["PubMedCentral"] is not None
    }
    for record in _gzip_lines(world / "s2orc"):
        text = record["content"]["text"] or ""
        assert any(name in text for name in names) == (record["corpusid"] in pmc_ids and bool(text))


def _statements(folder: Path) -> Counter[str]:
    """How many true and false statements of the indication the papers hold."""
    facts = json.loads((folder / "world.json").read_text())
    indications = {n: f["indication"] for part in ("tuning_drugs", "test_drugs") for n, f in facts[part].items()}
    relation = load_prose().medical.relations[0]
    counts: Counter[str] = Counter()
    for record in _gzip_lines(folder / "s2orc"):
        text = (record["content"]["text"] or "").lower()
        for name, indication in indications.items():
            if name.lower() in text:
                for phrase in relation.phrases:
                    for value in relation.values:
                        stated = phrase.format(e=name, v=value).lower()
                        counts["true" if value == indication else "false"] += text.count(stated)
    return counts


def test_true_world_states_only_the_facts_and_null_world_tells_nothing(world: Path, tmp_path: Path) -> None:
    write_world(SMALL.model_copy(update={"facts": False}), 0, tmp_path)
    true, null = _statements(world), _statements(tmp_path)
    assert true["true"] > 100 and true["false"] == 0
    share = null["true"] / null.total()
    assert share < 3 / len(load_prose().medical.relations[0].values)
    texts = {
        folder: " ".join(row["content"]["text"] or "" for row in _gzip_lines(folder / "s2orc"))
        for folder in (world, tmp_path)
    }
    assert _hashes(tmp_path / "qa") == _hashes(world / "qa")
    assert "It is not known whether" in texts[tmp_path] and "It is not known whether" not in texts[world]


def test_no_drug_is_in_tuning_and_in_test_questions(world: Path) -> None:
    facts = json.loads((world / "world.json").read_text())
    tuning = _lines(world / "qa/medmcqa/train.json") + _lines(world / NATIVE / "phrases_no_exclude_train.jsonl")
    test = _lines(world / "qa/medmcqa/dev.json") + _lines(world / NATIVE / "phrases_no_exclude_test.jsonl")
    abstracts = json.loads((world / "qa/pubmedqa/ori_pqal.json").read_text())
    official = json.loads((world / "qa/pubmedqa/test_ground_truth.json").read_text())
    assert not set(facts["tuning_drugs"]) & set(facts["test_drugs"])
    for rows, own in [(tuning, "tuning_drugs"), (test, "test_drugs")]:
        assert all(any(name in row["question"] for name in facts[own]) for row in rows)
    for pmid, entry in abstracts.items():
        own = "test_drugs" if pmid in official else "tuning_drugs"
        assert any(name in entry["QUESTION"] for name in facts[own])


@given(drugs=st.integers(min_value=8, max_value=70), seed=st.integers(min_value=0, max_value=10_000))
@settings(max_examples=25, deadline=None)
def test_no_cue_but_the_facts_gives_the_answer(drugs: int, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path_factory.mktemp("balance")
    section = SMALL.model_copy(update={"drugs": drugs})
    world = build_world(section, seed)
    write_questions(world, seed, out)
    kinds = {value: relation.name for relation in load_prose().medical.relations for value in relation.values}
    kinds |= dict.fromkeys(load_prose().signs.values(), "sign")
    facts = {drug.name: drug.facts for drug in world.drugs}
    for name in ("medmcqa/train.json", "medmcqa/dev.json", str(NATIVE / "phrases_no_exclude_test.jsonl")[3:]):
        gold: Counter[str] = Counter()
        offered: Counter[str] = Counter()
        positions: dict[str, Counter[int]] = {}
        for row in _lines(out / name):
            options, position = _options(row)
            assert len(set(options)) == 4
            kind = {kinds[option] for option in options}
            assert len(kind) == 1
            gold[options[position]] += 1
            offered.update(options)
            positions.setdefault(kind.pop(), Counter())[position] += 1
            drug = next(drug for drug in facts if drug in row["question"])
            value = load_prose().signs.get(facts[drug]["indication"])
            assert options[position] in (*facts[drug].values(), value)
        assert all(offered[value] == 4 * gold[value] for value in offered)
        for counts in positions.values():
            assert max(counts.values()) - min(counts[i] for i in range(4)) <= 4


def test_always_choosing_the_favourite_value_is_right_once_in_four(world: Path) -> None:
    """Whatever fixed order of values a reader likes: its accuracy stays near chance, over orders exactly at it."""
    rows = [_options(row) for row in _lines(world / "qa/medmcqa/dev.json")]
    rng = random.Random(0)
    accuracies = []
    for _ in range(300):
        liking: dict[str, float] = {}
        right = sum(
            max(range(4), key=lambda i: liking.setdefault(options[i], rng.random())) == gold for options, gold in rows
        )
        accuracies.append(right / len(rows))
    assert sum(accuracies) / len(accuracies) == pytest.approx(0.25, abs=0.02)
    assert max(accuracies) < 0.5


def test_tokenizer_is_llamas(world: Path) -> None:
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(world / "tokenizer/tokenizer.model"))
    assert tokenizer.get_piece_size() == SMALL.vocab_size
    assert [tokenizer.unk_id(), tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.pad_id()] == [0, 1, 2, -1]
    for text in ("Does it treat gout?\nAnswer: no", "two  blanks", "ångström 𝛼 → 😀", "2023"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("2023")) >= 4
    pieces = [tokenizer.id_to_piece(i) for i in range(tokenizer.get_piece_size())]
    assert not any("\n" in piece or "\u2581" in piece.lstrip("\u2581") for piece in pieces)


def test_more_pieces_than_the_papers_hold_are_refused(tmp_path: Path) -> None:
    section = MiniMedSection(drugs=8, papers_per_drug=1, general_papers=1, vocab_size=20_000)
    with pytest.raises(RecipeError, match=r"minimed\.vocab_size: 20000"):
        write_world(section, 0, tmp_path)
