"""What only all papers together tell: duplicates exact and near, boilerplate lines, evaluation questions."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.corpus.samples import write_lines
from tests.corpus.test_build import check_accounts, part_bytes, read_parts, section

from pmc_llama.corpus.boilerplate import frequent, line_hashes, without
from pmc_llama.corpus.build import build_corpus
from pmc_llama.corpus.contamination import Contamination, Probe
from pmc_llama.corpus.dedup import KEYS, exact_duplicates
from pmc_llama.corpus.near import near_duplicates, signatures
from pmc_llama.corpus.shingles import shingles, word_hashes
from pmc_llama.recipe.corpus import NearSection

PREFER = ["jats", "s2orc_v1"]


def rows(*papers: dict) -> pa.Table:
    names = [*KEYS.values(), "format", "version"]
    full = [{"format": "x", "version": 0, "text_hash": -n - 1} | paper for n, paper in enumerate(papers)]
    types = {name: pa.string() if name == "format" else pa.int64() for name in names}
    return pa.table({name: pa.array([row.get(name) for row in full], types[name]) for name in names})


def test_preference_format_then_version_then_position() -> None:
    papers = rows(
        {"pmcid": 1, "format": "s2orc_v1", "version": 9},
        {"pmcid": 1, "format": "jats", "version": 1},
        {"pmcid": 1, "format": "jats", "version": 2},
        {"pmcid": 1, "format": "jats", "version": 2},
        {"pmcid": None},
        {"pmcid": None},
    )
    verdict, reasons = exact_duplicates(papers, PREFER)
    assert [reasons[v - 1] if v else None for v in verdict] == ["duplicate_pmcid"] * 2 + [None] + [
        "duplicate_pmcid"
    ] + [None] * 2


def test_versions_linked_through_a_third_are_one_paper() -> None:
    papers = rows({"pmcid": 1}, {"doi_hash": 5}, {"pmcid": 1, "doi_hash": 5, "text_hash": 7}, {"text_hash": 7})
    verdict, reasons = exact_duplicates(papers, PREFER)
    assert [reasons[v - 1] if v else None for v in verdict] == [
        None,
        "duplicate_doi",
        "duplicate_pmcid",
        "duplicate_text",
    ]


keyed = st.fixed_dictionaries(
    {"pmcid": st.none() | st.integers(1, 4), "doi_hash": st.none() | st.integers(1, 4), "text_hash": st.integers(1, 9)}
    | {"format": st.sampled_from(["jats", "s2orc_v1", "text"]), "version": st.integers(0, 2)}
)


@given(st.lists(keyed, max_size=14))
def test_survivors_share_no_key_and_every_dropped_paper_shares_one(papers: list[dict]) -> None:
    verdict, _ = exact_duplicates(rows(*papers), PREFER) if papers else (np.zeros(0), [])
    kept = [paper for paper, v in zip(papers, verdict, strict=True) if v == 0]
    for key in ("pmcid", "doi_hash", "text_hash"):
        values = [paper[key] for paper in kept if paper[key] is not None]
        assert len(values) == len(set(values))
    for paper, v in zip(papers, verdict, strict=True):
        if v:
            assert any(
                sum(other[k] == paper[k] is not None for other in papers) > 1
                for k in ("pmcid", "doi_hash", "text_hash")
            )


def edited(words: list[str], share: float, chance: random.Random) -> str:
    return " ".join(f"other{chance.randrange(9999)}" if chance.random() < share else word for word in words)


@pytest.fixture(scope="module")
def planted() -> tuple[list[str], set[int]]:
    """400 texts that share phrases, and after them copies of every fourth, changed at 1 to 10 % of their words."""
    chance = random.Random(7)
    phrases = [" ".join(f"w{chance.randrange(5000)}" for _ in range(8)) for _ in range(300)]
    texts = [
        " ".join(chance.choice(phrases) if chance.random() < 0.1 else f"w{chance.randrange(5000)}" for _ in range(300))
        for _ in range(400)
    ]
    copies = [edited(text.split(), chance.uniform(0.01, 0.1), chance) for text in texts[::4]]
    return texts + copies, set(range(400, 500))


def test_planted_near_duplicates_are_found(planted: tuple[list[str], set[int]]) -> None:
    pytest.importorskip("rensa")
    texts, copies = planted
    near = NearSection()
    found = set(np.flatnonzero(near_duplicates(signatures(texts, near), np.arange(len(texts)), near)).tolist())
    assert len(found & copies) >= 0.95 * len(copies)
    assert len(found & copies) >= 0.99 * len(found)


def test_near_duplicates_do_not_depend_on_blocks_and_prefer_the_best() -> None:
    pytest.importorskip("rensa")
    near = NearSection()
    words = [f"w{n}" for n in range(200)]
    texts = [" ".join(words), "", " ".join([*words[:190], "x"]), "short text", "!"]
    whole = signatures(texts, near)
    assert whole == [signatures([text], near)[0] for text in texts]
    assert whole[1] is None and whole[4] is None
    assert near_duplicates(whole, np.array([2, 0, 1, 3, 4]), near).tolist() == [True, False, False, False, False]


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=30), st.integers(1, 6))
def test_shingles_are_equal_where_words_are(words: list[str], length: int) -> None:
    hashes = shingles(word_hashes(" ".join(words)), length)
    runs = [tuple(words[n : n + length]) for n in range(len(words) - length + 1)]
    assert len(hashes) == len(runs)
    assert len(set(hashes.tolist())) == len(set(runs))


LONG = (
    "Which of the following drugs lowers the risk of stroke in patients aged over sixty five years with fibrillation?"
)
SHORT = "Does aspirin prevent stroke in women?"


@pytest.mark.parametrize(
    ("text", "pmid", "kinds"),
    [
        ("Nothing of it is here. Which of the following drugs lowers the risk of bleeding?", None, {}),
        (f"Before. {LONG.upper().replace(' ', ', ')} After.", None, {"q1": "ngram"}),
        ("... " + " ".join(LONG.split()[3:16]) + " ...", None, {"q1": "ngram"}),
        ("... " + " ".join(LONG.split()[3:15]) + " ...", None, {}),
        (f"# {SHORT}\n\nIt does.", 5, {"q2": "question"}),
        ("Aspirin does prevent stroke in women", None, {}),
        ("What is it?", 7, {"q3": "pmid"}),
        ("", None, {}),
    ],
)
def test_questions_are_found(text: str, pmid: int | None, kinds: dict[str, str]) -> None:
    index = Contamination(
        [Probe("a", "q1", LONG), Probe("b", "q2", SHORT), Probe("b", "q3", "What is it?", 7), Probe("b", "q4", "Why?")]
    )
    hits = index.hits("pmc:1", text, pmid)
    assert {hit.question_id: hit.kind for hit in hits} == kinds
    report = index.report(hits * 2)
    assert report["b"].questions == 3
    assert report["b"].untestable == 1
    assert sum(task.questions_hit for task in report.values()) == len(kinds)


def test_boilerplate_lines_are_found_by_counting() -> None:
    common, rare = "The authors declare nothing.", "Only here."
    texts = [f"# T\n\n{common}\n\nBody {n}.\n\n{common}" for n in range(3)] + [f"{rare}\n\n{'x' * 600}"] * 1
    hashes = frozenset(frequent([line_hashes(text) for text in texts], 3).tolist())
    assert without(texts[0], hashes) == "# T\n\nBody 0."
    assert without(texts[3], hashes) == texts[3]
    assert without(common, hashes) == common  # nothing would be left


def test_near_duplicates_and_boilerplate_in_a_build(planted: tuple[list[str], set[int]], tmp_path: Path) -> None:
    pytest.importorskip("rensa")
    texts, copies = planted
    documents = [{"id": n, "text": f"{text}\n\nThis line is in all of them."} for n, text in enumerate(texts)]
    for n in range(3):
        write_lines(tmp_path / f"{n}.jsonl.gz", documents[n::3])
    source = {"name": "x", "paths": ["*.gz"]}
    recipe = section(source, select={"pmcid": "any"}, dedup={"near": {}}, clean={"boilerplate": 50})
    for workers in (1, 2):
        build_corpus(recipe, tmp_path, tmp_path / f"out{workers}", workers=workers)
        summary = check_accounts(tmp_path / f"out{workers}")
    assert part_bytes(tmp_path / "out1") == part_bytes(tmp_path / "out2")
    assert abs(summary["dropped"]["near_duplicate"] - len(copies)) <= 5
    kept = read_parts(tmp_path / "out1")
    assert not kept["text"].str.contains("This line is in all of them").any()
    assert summary["chars_removed"]["boilerplate"] == len("\n\nThis line is in all of them.") * len(kept)
