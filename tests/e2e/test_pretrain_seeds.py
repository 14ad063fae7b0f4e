"""Several adapted models: what is made for a further pre-training seed, and what is then said of the difference."""

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from e2e.test_further_models import recipe, write_data
from pmc_llama.errors import RecipeError
from pmc_llama.pipeline.run import Pipeline, run_recipe
from pmc_llama.recipe import load_recipe, parse_recipe
from pmc_llama.records.results import read_results
from pmc_llama.records.stamps import read_stamps
from pmc_llama.release.trained import find_model, models_of
from pmc_llama.report.browser import browser
from pmc_llama.report.run import Run
from pmc_llama.run_dir import RunDir

FURTHER = {"pretrain/seed-7", "tune/full-adapted-pretrain-7-seed-0", *(
    f"score/{regime}-adapted-pretrain-7-seed-0/medqa" for regime in ("full", "zero_shot")
)}  # fmt: skip


def write(root: Path, **pretrain: Any) -> Path:
    value = recipe(root, "run")
    value["pretrain"] |= pretrain
    value["regimes"]["full"]["max_steps"] = 1
    (root / "run.yaml").write_text(yaml.safe_dump(value))
    return root / "run.yaml"


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one pre-training, and its data."""
    root = tmp_path_factory.mktemp("seeds")
    write_data(root)
    run_recipe(write(root))
    return root


@pytest.fixture(scope="module")
def after(before: Path) -> Path:
    """The same with a further one; what it was before lies beside it."""
    shutil.copytree(before / "run", before / "one", symlinks=True)
    path = write(before, seeds=[0, 7])
    stale = {work for work, reason in Pipeline(load_recipe(path)).stale().items() if reason is not None}
    assert {work for work in stale if "/" in work} == FURTHER
    run_recipe(path)
    return before


def test_a_further_seed_makes_its_own_model_and_moves_no_other(after: Path) -> None:
    old, new = read_stamps(RunDir(after / "one")), read_stamps(RunDir(after / "run"))
    assert set(new) - set(old) == FURTHER
    of_models = [work for work in old if work.startswith(("base", "pretrain", "tune/", "score/"))]
    assert {new[work].token for work in of_models} == {old[work].token for work in of_models}
    assert {new[work].identity for work in of_models} == {old[work].identity for work in of_models}
    assert new["pretrain/seed-7"].settings == old["pretrain"].settings | {"seed": 7}
    assert new["pretrain/seed-7"].token != old["pretrain"].token
    assert new["tune/full-adapted-pretrain-7-seed-0"].upstream == {"pretrain/seed-7": new["pretrain/seed-7"].token}


def test_the_models_can_be_named(after: Path) -> None:
    run = after / "run"
    found = models_of(RunDir(run))
    assert found[:3] == ["base", "adapted", "adapted-pretrain-7"]
    assert "full/adapted-pretrain-7/seed-0" in found
    assert find_model(run, "adapted-pretrain-7").work == "pretrain/seed-7"
    assert find_model(run, "full/adapted-pretrain-7/seed-0").work in FURTHER


def test_results_page_and_console_speak_of_the_method(after: Path) -> None:
    run = Run(after / "run")
    row = next(row for row in run.results.summary if row.regime == "full")
    assert (row.unit, row.seeds, row.pretrainings) == ("method", 1, 2)
    answers = pl.read_parquet(run.places.predictions).filter(regime="full")
    right = answers.group_by("model", "pretrain_seed").agg((pl.col("chosen") == pl.col("gold")).mean())
    of = {(model, seed): share for model, seed, share in right.rows()}
    assert set(of) == {("base", None), ("adapted", 0), ("adapted", 7)}
    assert row.delta_mean == pytest.approx((of["adapted", 0] + of["adapted", 7]) / 2 - of["base", None])
    assert len([one for one in run.results.comparisons if one.regime == "full"]) == 2
    page = run.places.page.read_text()
    assert "2 pre-trainings, 1 seed" in page
    assert "Continued pre-training was repeated with 2 seeds" in page
    shown = browser(run.questions, run.predictions)
    assert shown is not None
    assert '"models":["base","adapted (pre-training 0)","adapted (pre-training 7)"]' in shown.json


def test_with_one_seed_nothing_is_written_of_it(after: Path) -> None:
    assert "pretrain" not in (after / "one" / "results.json").read_text().replace('"pretrain":', "")
    assert "pretrain_seed" not in pl.read_parquet(after / "one" / "predictions.parquet").columns
    assert read_results(after / "one" / "results.json").summary[0].unit == "models"


@pytest.mark.parametrize(("seeds", "message"), [([1, 1], "twice"), ([-1], "not between"), ([2**32], "not between")])
def test_seeds_that_cannot_be_used_are_refused(seeds: list[int], message: str, tmp_path: Path) -> None:
    value = recipe(tmp_path, "run")
    value["pretrain"]["seeds"] = seeds
    with pytest.raises(RecipeError, match=message):
        parse_recipe(value)


def test_a_base_is_trained_once_and_no_model_has_the_name_of_an_adapted_one(tmp_path: Path) -> None:
    value = recipe(tmp_path, "run", **{"adapted-pretrain-1": {"path": "base"}})
    with pytest.raises(RecipeError, match="adapted models of further seeds"):
        parse_recipe(value)
    value = recipe(tmp_path, "run")
    value["base"] = {"config": {"hidden_size": 8}, "train": {"seeds": [1, 2]}}
    with pytest.raises(RecipeError, match=r"base\.train\.seeds"):
        parse_recipe(value)
