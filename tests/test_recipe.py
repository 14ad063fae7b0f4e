"""The recipe: typed, complete errors, overrides."""

from pathlib import Path

import pytest

from builders import small_recipe
from pmc_llama.errors import RecipeError
from pmc_llama.recipe import load_recipe, parse_recipe

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_project_is_valid(path: Path) -> None:
    assert load_recipe(path).name == path.stem


def test_unknown_key_names_path_value_and_nearest_key() -> None:
    raw = small_recipe()
    raw["pretrain"] = {"sqe_len": 512}
    with pytest.raises(RecipeError, match=r"pretrain\.sqe_len: unknown key \(value 512\); did you mean 'seq_len'"):
        parse_recipe(raw)


def test_unknown_key_inside_lists_and_named_sections_is_explained() -> None:
    raw = small_recipe()
    raw["corpus"]["sources"][0]["pths"] = 1
    raw["regimes"]["full"]["epoch"] = 3
    with pytest.raises(RecipeError) as caught:
        parse_recipe(raw)
    assert "corpus.sources.0.pths" in str(caught.value) and "'paths'" in str(caught.value)
    assert "regimes.full.epoch" in str(caught.value) and "'epochs'" in str(caught.value)


def test_wrong_value_names_path_value_and_what_was_expected() -> None:
    raw = small_recipe()
    raw["pretrain"] = {"lr": -1, "schedule": "cosin"}
    with pytest.raises(RecipeError) as caught:
        parse_recipe(raw)
    assert "pretrain.lr: -1 is not valid: input should be greater than 0" in str(caught.value)
    assert "pretrain.schedule: 'cosin'" in str(caught.value) and "'cosine'" in str(caught.value)


def test_regime_that_tunes_on_an_unknown_task_is_refused() -> None:
    raw = small_recipe()
    raw["regimes"]["full"]["tasks"] = ["medqaa"]
    with pytest.raises(RecipeError, match=r"regimes\.full\.tasks names 'medqaa'.*did you mean 'medqa'"):
        parse_recipe(raw)


def test_regime_that_tunes_on_a_task_without_training_split_is_refused() -> None:
    raw = small_recipe()
    del raw["tasks"]["medqa"]["train"]
    with pytest.raises(RecipeError, match=r"tasks\.medqa\.train is not given"):
        parse_recipe(raw)


def test_missing_key_is_named() -> None:
    raw = small_recipe()
    del raw["tokenizer"]
    with pytest.raises(RecipeError, match="tokenizer: required, but not given"):
        parse_recipe(raw)


def test_settings_hold_what_decides_a_result() -> None:
    raw = small_recipe() | {"pretrain": {"lr": 1e-5, "log_every": 5, "seq_len": 2048, "order": {"kind": "sweep"}}}
    assert parse_recipe(raw).pretrain.settings() == {"lr": 1e-5, "order": {"kind": "sweep"}}


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


def dumped(tmp_path: Path) -> Path:
    import yaml

    return write(tmp_path, yaml.safe_dump(small_recipe()))


def test_overrides_reach_nested_keys_lists_and_numbers_without_a_dot(tmp_path: Path) -> None:
    overrides = [
        "pretrain.lr=1e-5",
        "corpus.sources.0.name=mine",
        "data.root=/elsewhere",
        "run_dir=here",
        "seeds=[1, 2]",
    ]
    recipe = load_recipe(dumped(tmp_path), overrides)
    assert recipe.pretrain.lr == 1e-5
    assert recipe.corpus.sources[0].name == "mine"
    assert recipe.data_root == Path("/elsewhere")
    assert recipe.run_path == Path("here")
    assert recipe.seeds == [1, 2]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pretrain.lr", "expected key.path=value"),
        ("name.first=x", "holds the value 'small', not a section"),
        ("corpus.sources.7.name=x", "not a position in a list of 1"),
        ("pretrain.lrr=1", "did you mean 'lr'"),
        ("pretrain.lr=[1", "not valid YAML"),
    ],
)
def test_wrong_overrides_are_explained(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message.replace("[", r"\[")):
        load_recipe(dumped(tmp_path), [override])


def test_missing_file_proposes_the_nearest_recipe(tmp_path: Path) -> None:
    write(tmp_path, "{}")
    with pytest.raises(RecipeError, match=r"does not exist; did you mean 'recipe.yaml'"):
        load_recipe(tmp_path / "recpie.yaml")


@pytest.mark.parametrize("text", ["- a\n", "a: [", ""])
def test_files_that_are_no_recipe_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecipeError):
        load_recipe(write(tmp_path, text))
