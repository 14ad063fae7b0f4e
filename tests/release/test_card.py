from pathlib import Path
from typing import Any

import polars as pl
import pytest
from huggingface_hub import ModelCard

from builders import write_store_info
from pmc_llama.files import write_json
from pmc_llama.records.results import read_results
from pmc_llama.release.card import write_model_card
from pmc_llama.release.trained import find_model
from release.tiny import write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_run(tmp_path_factory.mktemp("card"))
    write_corpus(run / "corpus")
    write_store_info(run / "tokens" / "corpus", 12345)
    (run / "train/pretrain").mkdir(parents=True)
    (run / "train/pretrain/metrics.jsonl").write_text(
        '{"step":0,"heldout":{"general":{"loss":3.0,"perplexity":20.0,"tokens":9}}}\n'
        '{"step":9,"heldout":{"general":{"loss":3.1,"perplexity":22.5,"tokens":9}}}\n'
    )
    return run


def _card(run: Path, which: str, out: Path, **more: str) -> Path:
    return write_model_card(find_model(run, which), read_results(run / "results.json"), out, **more)


def write_corpus(folder: Path) -> None:
    found = {"questions": 200, "questions_hit": 3, "documents_hit": 3, "untestable": 0, "kinds": {"ngram": 3}}
    text = {"kind": "corpus", "documents": 3, "tasks": {"medqa": found | {"question_ids": list("abc"), "examples": []}}}
    write_json(folder.parent / "contamination/contamination.json", {"texts": {"corpus": text}})
    totals = {"in": 5, "kept": 3, "dropped": {"no_pmcid": 2}}
    write_json(folder / "corpus.json", {**totals, "sources": {"s2orc": totals}, "parts": []})
    (folder / "parts").mkdir(exist_ok=True)
    frame = pl.DataFrame({"paper_id": ["a", "b", "c"], "license": ["CC BY", None, "CC BY"], "text": ["x"] * 3})
    frame.write_parquet(folder / "parts" / "part-00000.parquet")


def test_model_card_says_what_was_measured(run: Path, tmp_path: Path) -> None:
    card = ModelCard.load(_card(run, "adapted", tmp_path))
    assert card.data.license == "llama2"
    assert card.data.model_name == "tiny-adapted"
    (result,) = card.data.eval_results
    assert (result.dataset_name, result.metric_value) == ("medqa", 0.6)
    text = " ".join(card.text.split())
    assert "| full | medqa | in-domain | 0 | 88/200 = 44.0 % [39.0, 49.0] | 120/200 = 60.0 %" in text
    assert "+16.0 [+9.0, +23.0] | 9.7e-06 |" in text
    assert "Not for clinical use" in text and "must not be used for diagnosis" in text
    assert "5 documents read, 3 kept, 12,345 tokens" in text
    assert "2 no_pmcid" in text and "CC BY 2, not stated 1" in text
    assert (
        "20.00 → 22.50" in text
        and "medqa: 3 of 200 questions found, in 3 documents, which were trained on" in text
        and "28.0 %" in text
    )


def test_a_tuned_model_claims_its_own_results_only(run: Path, tmp_path: Path) -> None:
    card = ModelCard.load(_card(run, "full/adapted/seed-0", tmp_path, license="apache-2.0"))
    assert card.data.license == "apache-2.0"
    assert len(card.data.eval_results) == 1


def test_nothing_measured_nothing_claimed(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    (run / "results.json").unlink()
    (tmp_path / "base" / "README.md").unlink()
    card = ModelCard.load(_card(run, "adapted", tmp_path))
    assert card.data.eval_results is None and card.data.license == "other"
    for said in ("nothing is claimed", "was not measured in this run", "find out and name it before you publish"):
        assert said in " ".join(card.text.split())


@pytest.mark.parametrize("how", ["its own", "a revision's", "another run's"])
def test_invented_questions_stand_under_no_real_name(how: str, tmp_path: Path) -> None:
    world = {"minimed": {"drugs": 8}}
    first = write_run(tmp_path / "first", **world) if how != "its own" else None
    more: dict[str, Any] = world
    if how == "a revision's":
        more = {"update": {"previous": str(first)}}
    elif first is not None:
        more = {"data": {"root": str(first / "data")}, "base": {"path": str(first.parent / "base")}}
        more |= {"tokenizer": {"path": str(first.parent / "tokenizer.model")}}
    run = write_run(tmp_path / "run", **more)
    card = ModelCard.load(_card(run, "adapted", tmp_path, license="mit"))
    (result,) = card.data.eval_results
    assert (result.dataset_type, result.dataset_name) == ("minimed", "medqa (invented questions)")
    assert "The questions are invented" in card.text
    plain = ModelCard.load(_card(write_run(tmp_path / "real"), "adapted", tmp_path, license="mit"))
    assert plain.data.eval_results[0].dataset_type == "medqa"
    assert "invented" not in plain.text
