"""The real readers and the real recipe take what MiniMed writes."""

import re
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from pmc_llama.corpus.build import build_corpus
from pmc_llama.files import read_json
from pmc_llama.minimed.world import write_world
from pmc_llama.qa.prompts import render
from pmc_llama.qa.tasks import load_questions
from pmc_llama.recipe import Recipe, load_recipe

RECIPE = Path(__file__).parents[2] / "recipes" / "minimed.yaml"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    small = ["minimed.papers_per_drug=8", "minimed.general_papers=120", "minimed.vocab_size=1024"]
    recipe = load_recipe(RECIPE, [f"run_dir={tmp_path_factory.mktemp('run')}", *small])
    assert recipe.minimed is not None
    write_world(recipe.minimed, recipe.seed, recipe.data_root)
    return recipe


@pytest.mark.parametrize("name", ["direct_fact", "case", "abstract"])
def test_tasks_of_the_recipe_load_and_render(recipe: Recipe, name: str) -> None:
    section = recipe.tasks[name]
    splits = {
        split: load_questions(name, section, recipe.data_root, split)  # type: ignore[arg-type]
        for split in ("train", "test")
    }
    assert len(splits["test"]) >= 120
    assert not {q.question for q in splits["train"]} & {q.question for q in splits["test"]}
    for question in splits["test"]:
        prompt = render(section.prompt, question, section.answers)
        assert prompt.context.endswith("Answer:") and question.question in prompt.context
        assert prompt.continuations == tuple(f" {option}" for option in question.options)


def test_gold_positions_of_the_test_questions_are_even(recipe: Recipe) -> None:
    counts = Counter(
        q.gold for q in load_questions("direct_fact", recipe.tasks["direct_fact"], recipe.data_root, "test")
    )
    assert set(counts.values()) == {sum(counts.values()) // 4}


def test_readers_sort_the_papers_and_account_for_each(recipe: Recipe, tmp_path: Path) -> None:
    assert recipe.general is not None
    written = read_json(recipe.data_root / "world.json")["papers"]
    corpus = build_corpus(recipe.corpus, recipe.data_root, tmp_path / "corpus", workers=1)
    general = build_corpus(recipe.general, recipe.data_root, tmp_path / "general", workers=1)
    for built in (corpus, general):
        assert built.documents_in == written["records"] == built.kept + sum(built.dropped.values())
    assert corpus.kept + general.kept == written["records"] - written["duplicates"] - written["null_texts"]
    assert corpus.kept + corpus.dropped.get("no_text", 0) == written["pmc_papers"]


def test_facts_survive_cleaning(recipe: Recipe, tmp_path: Path) -> None:
    build_corpus(recipe.corpus, recipe.data_root, tmp_path, workers=1)
    text = " ".join(pl.read_parquet(tmp_path / "parts" / "*.parquet")["text"])
    facts = read_json(recipe.data_root / "world.json")
    for name, own in (facts["tuning_drugs"] | facts["test_drugs"]).items():
        assert all(re.search(rf"{value}[^.]*{name}|{name}[^.]*{value}", text, re.I) for value in own.values())
