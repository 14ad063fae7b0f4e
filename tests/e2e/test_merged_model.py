"""A merge of the base and the adapted model as a row of the grid: made, asked, and made anew when it changes."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import yaml
from safetensors.torch import load_file

from builders import small_recipe
from e2e.test_further_models import recipe, write_data
from pmc_llama.errors import InputError, RecipeError
from pmc_llama.experiment.evaluation import Asking, evaluate_models
from pmc_llama.pipeline.run import run_recipe
from pmc_llama.recipe import parse_recipe


def log_probabilities(run: Path, model: str) -> list[list[float]]:
    return pl.read_parquet(run / "predictions.parquet").filter(model=model)["option_logprobs"].to_list()


def test_a_merge_is_one_more_model_of_the_grid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_data(tmp_path)
    asked = recipe(tmp_path, "run", halfway={"merge": {"of": ["base", "adapted"]}})
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(asked | {"regimes": {"zero_shot": {"kind": "zero_shot"}}}))
    run_recipe(path, until="evaluate")
    run = tmp_path / "run"
    base, adapted, halfway = (
        load_file(folder / "model.safetensors")
        for folder in (tmp_path / "base", run / "models/adapted", run / "models/merged/halfway")
    )
    for name, value in halfway.items():
        torch.testing.assert_close(
            value.float(), (base[name].float() + adapted[name].float()) / 2, atol=1e-2, rtol=1e-2
        )
    three = [log_probabilities(run, model) for model in ("base", "adapted", "halfway")]
    assert three[2] not in three[:2]
    capsys.readouterr()
    run_recipe(path, until="evaluate")
    assert "merging" not in capsys.readouterr().out
    run_recipe(path, ["models.halfway.merge.weight=0"], until="evaluate")
    assert log_probabilities(run, "halfway") == log_probabilities(run, "base")


@pytest.mark.parametrize(
    ("merge", "message"),
    [
        ({"of": ["base", "nobody"]}, "models.mix.merge names 'nobody', which is no model here"),
        ({"of": ["base", "mix"]}, "models.mix.merge names 'mix', whose weights are not given by a path or run"),
        ({"of": ["base", "base"]}, "merge.of names a model twice"),
        ({"of": ["base", "adapted", "other"], "method": "slerp"}, "`slerp` is the way between two models"),
        ({"of": ["base"]}, "at least 2 items"),
    ],
)
def test_merges_that_cannot_be_made_are_refused(merge: dict[str, Any], message: str) -> None:
    models = {"mix": {"merge": merge, "tuned": True}, "other": {"path": "x", "tuned": True}}
    with pytest.raises(RecipeError, match=message):
        parse_recipe(small_recipe() | {"models": models})


def test_without_a_recipe_nothing_is_merged(tmp_path: Path) -> None:
    write_data(tmp_path)
    (tmp_path / "medqa/US/4_options").mkdir(parents=True)
    (tmp_path / "test.jsonl").rename(tmp_path / "medqa/US/4_options/phrases_no_exclude_test.jsonl")
    with pytest.raises(InputError, match="models are merged in a recipe only"):
        evaluate_models("{merge: {of: [base, adapted]}}", [], Asking.of(["medqa"], tmp_path, {}, {}), tmp_path / "out")
