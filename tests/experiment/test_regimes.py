"""The grid: which cells there are, what each depends on, and how shares of the training questions nest."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import small_recipe
from pmc_llama.errors import RecipeError
from pmc_llama.experiment.regimes import asked_as, cells, scoring_stamps, tuning_stamps
from pmc_llama.experiment.tuning import take_fraction
from pmc_llama.recipe import Recipe, parse_recipe
from pmc_llama.stamps import Stamp


def recipe_with(tmp_path: Path, **changes: Any) -> Recipe:
    for file in (tmp_path / "train.jsonl", tmp_path / "test.jsonl"):
        if not file.exists():
            file.touch()
    raw = small_recipe() | {"run_dir": str(tmp_path / "run"), "data": {"root": str(tmp_path)}, "seeds": [0, 1]}
    raw["regimes"] = {"zero_shot": {"kind": "zero_shot"}, "full": {"kind": "full", "tasks": ["medqa"]}}
    return parse_recipe(raw | changes)


def upstream(recipe: Recipe) -> dict[str, Stamp]:
    stamps = {name: Stamp(recipe.run_path / f"{name}.json", name, [], []) for name in ("base", "pretrain")}
    for stamp in stamps.values():
        if stamp.token is None:
            stamp.begin()
            stamp.finish(0.0)
    return stamps


def finish(stamps: dict[Any, Stamp]) -> None:
    for stamp in stamps.values():
        stamp.begin()
        for output in stamp.outputs:
            output.parent.mkdir(parents=True, exist_ok=True)
            output.touch()
        stamp.finish(0.0)


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


def test_changed_shots_make_only_their_scores_stale(tmp_path: Path) -> None:
    regimes = {"few": {"kind": "few_shot", "shots": 3}, "full": {"kind": "full", "tasks": ["medqa"]}}
    recipe = recipe_with(tmp_path, regimes=regimes)
    stamps = upstream(recipe)
    finish(tuning_stamps(recipe, stamps))
    finish(scoring_stamps(recipe, stamps))
    changed = recipe_with(tmp_path, regimes=regimes | {"few": {"kind": "few_shot", "shots": 4}})
    assert {cell.regime for cell, stamp in scoring_stamps(changed, stamps).items() if stamp.why_stale()} == {"few"}
    assert not any(stamp.why_stale() for stamp in tuning_stamps(changed, stamps).values())


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


def test_new_pretraining_makes_only_the_adapted_cells_stale(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path)
    stamps = upstream(recipe)
    finish(tuning_stamps(recipe, stamps))
    finish(scoring_stamps(recipe, stamps))
    stamps["pretrain"].discard()
    stamps = upstream(recipe)
    for found in (tuning_stamps(recipe, stamps), scoring_stamps(recipe, stamps)):
        assert {cell.model for cell, stamp in found.items() if stamp.why_stale()} <= {"adapted"}
    assert any(stamp.why_stale() for stamp in tuning_stamps(recipe, stamps).values())


def test_changed_regime_makes_only_its_own_cells_stale(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path)
    stamps = upstream(recipe)
    finish(tuning_stamps(recipe, stamps))
    regimes = {"full": {"kind": "full", "tasks": ["medqa"]}, "other": {"kind": "full", "tasks": ["medqa"], "lr": 1e-4}}
    more = recipe_with(tmp_path, regimes=regimes)
    stale = {cell.regime for cell, stamp in tuning_stamps(more, stamps).items() if stamp.why_stale()}
    assert stale == {"other"}


def test_changed_training_file_makes_the_cells_stale(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path)
    stamps = upstream(recipe)
    finish(tuning_stamps(recipe, stamps))
    (tmp_path / "train.jsonl").write_text("new")
    assert all(stamp.why_stale() == "settings changed" for stamp in tuning_stamps(recipe, stamps).values())


@given(st.integers(1, 300), st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 5))
def test_smaller_shares_are_contained_in_larger_ones(n: int, one: float, other: float, seed: int) -> None:
    small, large = sorted((one, other))
    questions = list(range(n))
    few, many = take_fraction(questions, small, seed), take_fraction(questions, large, seed)
    assert few == many[: len(few)]
    assert len(few) == max(1, round(small * n)) and len(set(few)) == len(few)
