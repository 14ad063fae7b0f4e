"""Test questions in what models are trained on: measured for all texts, dropped from a corpus on request."""

from pathlib import Path

import pytest

from corpus.samples import write_lines
from corpus.test_build import check_accounts, section
from pmc_llama.corpus import contamination
from pmc_llama.corpus.build import build_corpus
from pmc_llama.corpus.contamination import Probe, measure_corpus, measure_texts
from pmc_llama.files import read_record
from pmc_llama.recipe.corpus import CorpusSection
from pmc_llama.records.contamination import Contamination, TaskFound, Text
from pmc_llama.run_dir import CorpusDir

LONG = (
    "Which of the following drugs lowers the risk of stroke in patients aged over sixty five years with fibrillation?"
)
SHORT = "Does aspirin prevent stroke in women?"
PROBES = [Probe("a", "q1", LONG), Probe("b", "q2", SHORT), Probe("b", "q3", "An unasked question of six words")]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Ten papers in two parts, of which the last two hold a question each."""
    texts = [f"An article on number {n} and its drugs." for n in range(8)] + [f"It asks: {LONG}", f"{SHORT} Yes."]
    for part in range(2):
        rows = [{"id": n, "text": text, "pmid": 100 + n} for n, text in enumerate(texts)][part::2]
        write_lines(tmp_path / f"{part}.jsonl", rows)
    build_corpus(recipe(), tmp_path, tmp_path / "corpus", workers=1, probes=PROBES)
    return tmp_path / "corpus"


def recipe(**more: object) -> CorpusSection:
    return section({"name": "x", "paths": ["*.jsonl"]}, select={"pmcid": "any"}, **more)


def hits(text: Text) -> dict[str, list[str]]:
    return {task: found.question_ids for task, found in text.tasks.items()}


def test_questions_in_a_corpus_are_measured_and_nothing_is_dropped(corpus: Path, tmp_path: Path) -> None:
    assert check_accounts(corpus)["dropped"] == {} and not CorpusDir(corpus).decontamination.exists()
    text = measure_corpus(recipe(), corpus, PROBES, tmp_path / "cache", workers=1)
    assert (text.kind, text.documents) == ("corpus", 10)
    assert hits(text) == {"a": ["q1"], "b": ["q2"]}
    assert [one.document_id for one in text.tasks["a"].examples] == ["pmid:108"]
    assert text == measure_corpus(recipe(), corpus, PROBES, tmp_path / "other", workers=2)


def test_papers_are_dropped_on_request_and_what_they_held_is_told(corpus: Path, tmp_path: Path) -> None:
    out = CorpusDir(tmp_path / "clean")
    build_corpus(recipe(decontaminate=True), tmp_path, out.root, workers=1, probes=PROBES)
    assert check_accounts(out.root)["dropped"] == {"contaminated": 2}
    dropped = read_record(out.decontamination, dict[str, TaskFound])
    assert {task: found.questions_hit for task, found in dropped.items()} == {"a": 1, "b": 1}
    assert hits(measure_corpus(recipe(), out.root, PROBES, tmp_path / "cache", workers=1)) == {"a": [], "b": []}


def test_interrupted_or_repeated_measurement_reads_only_what_is_missing(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measure_corpus(recipe(), corpus, PROBES, tmp_path / "whole", workers=1)
    read: list[str] = []
    check = contamination.check_part

    def once(part: str, questions: str) -> contamination.PartFound:
        if len(read) == 1:
            raise KeyboardInterrupt
        read.append(part)
        return check(part, questions)

    monkeypatch.setattr(contamination, "check_part", once)
    with pytest.raises(KeyboardInterrupt):
        measure_corpus(recipe(), corpus, PROBES, tmp_path / "cache", workers=1)

    def counted(part: str, questions: str) -> contamination.PartFound:
        read.append(part)
        return check(part, questions)

    monkeypatch.setattr(contamination, "check_part", counted)
    assert measure_corpus(recipe(), corpus, PROBES, tmp_path / "cache", workers=1) == whole
    assert len(read) == len(set(read)) == 2
    assert measure_corpus(recipe(), corpus, PROBES, tmp_path / "cache", workers=1) == whole and len(read) == 2
    measure_corpus(recipe(), corpus, PROBES[:1], tmp_path / "cache", workers=1)
    assert len(read) == 4, "other questions are looked for in every part"


def test_questions_are_found_in_tuning_questions_and_instructions_too() -> None:
    stock = " ".join(LONG.split()[:13])  # a phrase that many questions begin with
    texts = [("train-1", f"{LONG} And why?"), ("train-2", "Something else that is asked for."), ("train-3", stock)]
    text = measure_texts("questions", texts, [*PROBES, Probe("c", "7", "Short?", 7)])
    assert hits(text) == {"a": ["q1"], "b": [], "c": []} and text.documents == 3
    assert hits(measure_texts("questions", [("train-3", stock)], PROBES)) == {"a": [], "b": []}
    assert Contamination({"questions/t": text}).found() == {"a": {"q1"}}
    assert text.tasks["c"].untestable == 0, "known by its PubMed id in papers"
