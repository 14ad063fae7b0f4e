"""The recipe: typed, complete errors, overrides."""

from pathlib import Path
from typing import Any

import pytest
import yaml

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
    recipe = parse_recipe(raw)
    assert recipe.pretrain.settings("pretrain") == {"lr": 1e-5, "order": {"kind": "sweep"}}
    assert recipe.settings("pretrain")["pretrain"] == recipe.pretrain.settings("pretrain")
    assert "pretrain" not in recipe.settings("tokens")


def test_files_count_by_content_and_not_by_name() -> None:
    recipe = parse_recipe(small_recipe())
    assert recipe.settings("corpus") == {"corpus": {"sources": [{"name": "s2orc"}]}}
    assert [(read.key, read.value) for read in recipe.reads("corpus")] == [("corpus.sources.0.paths", "*.jsonl.gz")]
    assert {read.kind for read in recipe.reads("base")} == {"model", "tokenizer"}


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


def refused(tmp_path: Path, content: bytes) -> str:
    (tmp_path / "recipe.yaml").write_bytes(content)
    with pytest.raises(RecipeError) as error:
        load_recipe(tmp_path / "recipe.yaml")
    assert len(str(error.value)) < 1000
    return str(error.value)


def bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("seed: 1\nname: x\nseed: 2", "the key 'seed' stands twice in one mapping, in lines 1 and 3"),
        (
            "regimes:\n  a: {kind: zero_shot}\n  a: {kind: few_shot}",
            "'a' stands twice in one mapping, in lines 2 and 3",
        ),
        (bomb(), "its aliases make more than 100,000 values"),
        ("a: &a [*a]", "a value refers to itself"),
        ("a: " + "[" * 50_000 + "]" * 50_000, "nested too deeply"),
        ("a: " + "[" * 200 + "]" * 200, "nested more than 100 deep"),
        ('a: !!python/object/apply:os.system ["touch pwned"]', "is not valid YAML: could not determine a constructor"),
        ("a: 2024-99-99", "cannot be read: month must be in"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"\x00\x01", "is not valid YAML"),
        ("", "must be a mapping of keys to values, not NoneType"),
        ("x: '" + "y" * 10_000 + "'", "unknown key"),
    ],
)
def test_what_anybody_may_write_is_one_short_sentence(tmp_path: Path, content: str | bytes, message: str) -> None:
    text = refused(tmp_path, content if isinstance(content, bytes) else content.encode())
    assert message in text and "recipe.yaml" in text
    assert not (tmp_path / "pwned").exists()


def test_a_merged_key_may_be_overridden(tmp_path: Path) -> None:
    text = yaml.safe_dump(small_recipe()) + "x: &x {lr: 1.0e-3, seq_len: 64}\npretrain: {<<: *x, lr: 1.0e-4}\n"
    with pytest.raises(RecipeError, match="x: unknown key"):
        load_recipe(write(tmp_path, text))
    merged = text.replace("x: &x {lr: 1.0e-3, seq_len: 64}\n", "").replace("{<<: *x,", "{<<: {lr: 1, seq_len: 64},")
    pretrain = load_recipe(write(tmp_path, merged)).pretrain
    assert (pretrain.lr, pretrain.seq_len) == (1e-4, 64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [-1]}, "seeds: seed -1 is not between 0 and"),
        ({"seeds": [2**32]}, "is not between 0 and"),
        ({"seeds": [3, 3]}, "names a seed twice"),
        ({"seeds": [True]}, "is not a number"),
        ({"seed": True}, "is not a number"),
        ({"seed": 2**32}, "seed: 4294967296 is not valid"),
        ({"seed": "1e3"}, "seed: '1e3' is not valid"),
        ({"workers": 10**6}, "workers: 1000000 is not valid"),
        ({"pretrain": {"lr": float("nan")}}, "pretrain.lr: nan is not valid"),
        ({"pretrain": {"lr": float("inf")}}, "pretrain.lr: inf is not valid"),
        ({"pretrain": {"epochs": 1e300}}, "pretrain.epochs"),
        ({"pretrain": {"seq_len": 10**11}}, "pretrain.seq_len"),
        ({"name": ".."}, "'..' becomes a folder"),
        ({"name": "../../etc"}, "becomes a folder"),
        ({"name": "a."}, "no dot at the end"),
        ({"regimes": {"a": {"kind": "zero_shot"}, "A": {"kind": "few_shot"}}}, "'a' and 'A' differ only in capitals"),
    ],
)
def test_values_that_no_run_could_use_are_refused_with_their_key(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        parse_recipe(small_recipe() | change)
    assert message in str(error.value)


ZERO_SHOT = {"zero_shot": {"kind": "zero_shot"}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": {"base": {"path": "x"}}}, "'base', which is the run's own"),
        ({"models": {"Base": {"path": "x"}}}, "differ only in capitals"),
        ({"models": {"a/b": {"path": "x"}}}, "becomes a folder"),
        ({"models": {"other": {}}}, "give exactly one of path, run, endpoint, predictions and merge; none is given"),
        ({"models": {"other": {"path": "x", "endpoint": "http://h"}}}, "path, endpoint are given"),
        ({"models": {"other": {"pth": "x"}}}, "did you mean 'path'"),
        (
            {"models": {"other": {"path": "x"}}, "regimes": {"full": {"kind": "full", "tasks": ["medqa"]}}},
            r"models\.other is asked as it is, but every regime tunes.*or tune it",
        ),
        ({"comparisons": [["base", "adaptd"]]}, "'adaptd', which is no model here; did you mean 'adapted'"),
        ({"comparisons": [["base", "base"]]}, "compares 'base' with itself"),
        ({"comparisons": [["base", "adapted"], ["adapted", "base"]]}, "the same two models twice"),
        ({"comparisons": [["base"]]}, r"comparisons\.0"),
        (
            {
                "models": {"b-base": {"path": "x"}},
                "regimes": {"a": {"kind": "zero_shot"}, "a-b": {"kind": "zero_shot"}},
            },
            "would have the same folder",
        ),
    ],
)
def test_models_that_cannot_be_asked_or_compared_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_recipe(small_recipe() | {"regimes": ZERO_SHOT} | changes)


def test_every_model_is_compared_with_the_adapted_one_unless_the_recipe_says_otherwise() -> None:
    raw = small_recipe() | {"regimes": ZERO_SHOT, "models": {"b": {"path": "x"}, "a": {"path": "y"}}}
    assert parse_recipe(raw).compared == [("base", "adapted"), ("b", "adapted"), ("a", "adapted")]
    said = parse_recipe(raw | {"comparisons": [["a", "b"]]})
    assert said.compared == [("a", "b")]
    assert parse_recipe(said.model_dump(mode="json", exclude_none=True)) == said
