"""The grid: which cells there are, and how shares of the training questions nest."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import small_recipe
from pmc_llama.errors import RecipeError
from pmc_llama.experiment.cells import asked_as, cells, tuned_cells
from pmc_llama.experiment.tuning import take_fraction
from pmc_llama.recipe import Recipe, parse_recipe


def recipe_with(tmp_path: Path, **changes: Any) -> Recipe:
    for file in (tmp_path / "train.jsonl", tmp_path / "test.jsonl"):
        if not file.exists():
            file.touch()
    raw = small_recipe() | {"run_dir": str(tmp_path / "run"), "data": {"root": str(tmp_path)}, "seeds": [0, 1]}
    raw["regimes"] = {"zero_shot": {"kind": "zero_shot"}, "full": {"kind": "full", "tasks": ["medqa"]}}
    return parse_recipe(raw | changes)


def test_every_regime_meets_both_models_and_only_tuned_ones_every_seed(tmp_path: Path) -> None:
    found = [(cell.regime, cell.model, cell.seed) for cell in cells(recipe_with(tmp_path))]
    assert found == [
        ("zero_shot", "base", 0),
        ("zero_shot", "adapted", 0),
        ("full", "base", 0),
        ("full", "adapted", 0),
        ("full", "base", 1),
        ("full", "adapted", 1),
    ]


def test_shots_are_those_of_the_regime_that_asks(tmp_path: Path) -> None:
    task = {"format": "medqa", "train": "train.jsonl", "test": "test.jsonl", "shots": 2}
    regimes = {"zero": {"kind": "zero_shot"}, "few": {"kind": "few_shot", "shots": 3}}
    regimes |= {"full": {"kind": "full", "tasks": ["medqa"]}}
    recipe = recipe_with(tmp_path, tasks={"medqa": task}, regimes=regimes)
    assert {name: asked_as(recipe, name, "medqa").shots for name in regimes} == {"zero": 0, "few": 3, "full": 2}
    assert [cell.seed for cell in cells(recipe) if cell.regime == "few"] == [0, 0]


def test_a_learning_curve_is_one_regime_a_share(tmp_path: Path) -> None:
    curve = {"kind": "full", "tasks": ["medqa"], "fractions": [0.01, 0.125, 1]}
    recipe = recipe_with(tmp_path, regimes={"curve": curve, "zero": {"kind": "zero_shot"}})
    assert list(recipe.regimes) == ["curve_1", "curve_12.5", "curve_100", "zero"]
    assert [section.fraction for section in recipe.regimes.values()] == [0.01, 0.125, 1, 1]
    assert parse_recipe(recipe.model_dump(mode="json", exclude_none=True)) == recipe


@pytest.mark.parametrize(
    ("regimes", "message"),
    [
        ({"a": {"kind": "full"}}, "`tasks` must name the training sets"),
        ({"a": {"kind": "few_shot", "tasks": ["medqa"]}}, "be empty for `few_shot`"),
        ({"a": {"kind": "full", "tasks": ["medqa"], "files": ["x.jsonl"]}}, "belongs|of no other"),
        ({"a": {"kind": "instruct", "tasks": ["medqa"]}}, "`files` holds the instructions"),
        ({"a": {"kind": "full", "tasks": ["medqa"], "fraction": 0.5, "fractions": [0.1]}}, "replaces `fraction`"),
        ({"a": {"kind": "full", "tasks": ["medqa"], "fractions": [0.1, 0.1]}}, "the name 'a_10'"),
        (
            {"a": {"kind": "full", "tasks": ["medqa"], "fractions": [0.1]}, "a_10": {"kind": "zero_shot"}},
            "the name 'a_10'",
        ),
        ({"a": {"kind": "full", "tasks": ["medqa"], "fractions": [2]}}, "less than or equal to 1"),
    ],
)
def test_regimes_that_contradict_themselves_are_refused(regimes: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe_with(tmp_path, regimes=regimes)


@given(st.integers(1, 300), st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 5))
def test_smaller_shares_are_contained_in_larger_ones(n: int, one: float, other: float, seed: int) -> None:
    small, large = sorted((one, other))
    questions = list(range(n))
    few, many = take_fraction(questions, small, seed), take_fraction(questions, large, seed)
    assert few == many[: len(few)]
    assert len(few) == max(1, round(small * n)) and len(set(few)) == len(few)


OTHERS: dict[str, Any] = {
    "tuned": {"path": "a", "tuned": True, "prompt": "plain", "shots": 1},
    "chat": {"endpoint": "http://127.0.0.1:1", "method": "generation", "shots": 4},
    "published": {"predictions": "p.parquet"},
}


def test_further_models_are_tuned_only_if_they_want_it(tmp_path: Path) -> None:
    found = cells(recipe_with(tmp_path, models=OTHERS))
    asked = {regime: [cell.model for cell in found if cell.regime == regime] for regime in ("zero_shot", "full")}
    assert asked == {
        "zero_shot": ["base", "adapted", "tuned", "chat", "published"],
        "full": ["base", "adapted", "tuned"] * 2,
    }
    assert [cell.model for cell in tuned_cells(recipe_with(tmp_path))] == ["base", "adapted"] * 2


def test_a_model_is_asked_in_its_own_way(tmp_path: Path) -> None:
    regimes = {"zero": {"kind": "zero_shot"}, "few": {"kind": "few_shot", "shots": 3}}
    recipe = recipe_with(tmp_path, models=OTHERS, regimes=regimes | {"full": {"kind": "full", "tasks": ["medqa"]}})

    def way(regime: str, model: str) -> tuple[Any, ...]:
        section = asked_as(recipe, regime, "medqa", model)
        return section.prompt, section.method, section.shots

    assert way("zero", "base") == way("zero", "published") == ("lm-eval", "likelihood", 0)
    assert way("zero", "chat") == ("lm-eval", "generation", 0)
    assert way("few", "chat") == ("lm-eval", "generation", 4)
    assert (way("few", "tuned"), way("few", "adapted")) == (("plain", "likelihood", 1), ("lm-eval", "likelihood", 3))
    assert way("full", "tuned") == ("plain", "likelihood", 1)
