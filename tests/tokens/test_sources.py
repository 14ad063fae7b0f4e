"""A recipe mixes any number of corpora, and says how much of each was seen."""

import json
from pathlib import Path
from typing import Any

import pytest

from pmc_llama.errors import RecipeError
from pmc_llama.pipeline.run import Pipeline
from pmc_llama.recipe import parse_recipe
from pmc_llama.report.run import Run

from .conftest import prose


def corpus(name: str) -> dict[str, Any]:
    source = {"name": name, "format": "text", "paths": [f"{name}/*.txt"]}
    return {"sources": [source], "select": {"pmcid": "any"}}


def recipe(root: Path, tokenizer: Path, **changes: Any) -> dict[str, Any]:
    steps = {"seq_len": 16, "global_batch": 20, "micro_batch": 20, "max_steps": 3, "precision": "fp32"}
    mixed = {"ratios": {"books": 15, "corpus": 4, "general": 1}, "epochs_of": "books"}
    config = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return {
        "name": "mixed",
        "run_dir": str(root / "run"),
        "workers": 1,
        "data": {"root": str(root)},
        "corpus": corpus("papers"),
        "general": corpus("wiki"),
        "extra": {"books": corpus("books")},
        "tokenizer": {"path": str(tokenizer)},
        "tokens": {"heldout_fraction": 0.3},
        "base": {"config": config, "train": steps},
        "pretrain": steps | {"mixture": mixed},
    } | changes


def test_a_run_on_three_sources_shows_the_coverage_of_each(tmp_path: Path, small_model: Path) -> None:
    for name, words in (("papers", 300), ("wiki", 100), ("books", 900)):
        (tmp_path / name).mkdir()
        for number in range(8):
            (tmp_path / name / f"{number}.txt").write_text(f"{name} {number}. " + prose(words, number))
    Pipeline(parse_recipe(recipe(tmp_path, small_model))).run(until="pretrain")
    trained = tmp_path / "run" / "train" / "pretrain"
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    steps, heldout = [line for line in lines if "loss" in line], [line for line in lines if "heldout" in line]
    assert set(heldout[-1]["heldout"]) == {"books", "corpus", "general"}
    curves = json.loads((trained / "coverage.json").read_text())
    assert set(curves) == {"books", "corpus", "general", "all"}
    for step, line in enumerate(steps, start=1):
        for name in ("books", "corpus", "general"):
            assert curves[name][step] == [step, line[f"coverage/{name}"]]
        assert curves["all"][step] == [step, line["coverage"]]
    assert 0 < steps[-1]["coverage/corpus"] < 1
    assert [corpus.name for corpus in Run(tmp_path / "run").corpora] == ["corpus", "general", "books"]


def test_a_source_that_is_no_corpus_is_refused(tmp_path: Path, small_model: Path) -> None:
    with pytest.raises(RecipeError, match=r"names 'books'; the corpora of this recipe: corpus, general$"):
        parse_recipe(recipe(tmp_path, small_model, extra={}))
    with pytest.raises(RecipeError, match="extra names 'general', which is another text's name"):
        parse_recipe(recipe(tmp_path, small_model, extra={"general": corpus("books")}))
