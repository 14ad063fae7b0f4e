"""The rule by which a model's prompt is chosen."""

from pathlib import Path

import pytest

from builders import small_recipe
from pmc_llama.errors import RecipeError
from pmc_llama.experiment.choosing import best, dev_tasks, with_choices
from pmc_llama.files import write_json
from pmc_llama.recipe import parse_recipe
from pmc_llama.records.prompts import PromptChoice, PromptScore
from pmc_llama.run_dir import RunDir

CHOOSER = {"path": "x", "shots": 3, "method": "generation", "prompt": {"choose": ["plain", "chat"]}}


def scores(**correct: list[int]) -> list[PromptScore]:
    return [
        PromptScore(prompt.replace("_", "-"), f"task-{i}", 10 * (i + 1), right)
        for prompt, rights in correct.items()
        for i, right in enumerate(rights)
    ]


def test_the_highest_mean_over_tasks_is_taken_and_the_first_of_equal_ones() -> None:
    assert best(["plain", "chat"], scores(plain=[5], chat=[6])) == "chat"
    assert best(["plain", "chat"], scores(plain=[6], chat=[6])) == "plain"
    assert best(["chat", "plain"], scores(plain=[6], chat=[6])) == "chat"
    # 50 % and 50 % against 80 % and 35 %: a task counts alike, however many questions it has
    assert best(["plain", "chat"], scores(plain=[5, 10], chat=[8, 7])) == "chat"


def test_a_choice_replaces_the_candidates(tmp_path: Path) -> None:
    raw = small_recipe() | {"models": {"other": CHOOSER}, "regimes": {"zero_shot": {"kind": "zero_shot"}}}
    recipe, run = parse_recipe(raw), RunDir(tmp_path)
    assert with_choices(recipe, run) == recipe
    asked = dev_tasks(recipe, "other")["medqa"]
    assert (asked.shots, asked.method, asked.prompt) == (0, "generation", "lm-eval")
    write_json(run.prompt_choice("other"), PromptChoice("chat", scores(plain=[1], chat=[2])))
    assert with_choices(recipe, run).models["other"].prompt == "chat"


def test_choosing_takes_a_training_split() -> None:
    raw = small_recipe() | {"models": {"other": CHOOSER}, "regimes": {"zero_shot": {"kind": "zero_shot"}}}
    raw["tasks"] = {"medqa": {"format": "medqa", "test": "test.jsonl"}}
    with pytest.raises(RecipeError, match=r"models\.other\.prompt: to choose one takes a task with a training split"):
        dev_tasks(parse_recipe(raw), "other")
