"""Stages: done once, redone when their settings or what they build on changed, resumed when interrupted."""

import fcntl
from pathlib import Path
from typing import Any

import pytest
import yaml

from builders import small_recipe
from pmc_llama.errors import PmcLlamaError
from pmc_llama.files import read_json
from pmc_llama.pipeline import Pipeline
from pmc_llama.recipe import Recipe, parse_recipe
from pmc_llama.stages import Stage


def make_recipe(tmp_path: Path, **changes: Any) -> Recipe:
    return parse_recipe(small_recipe() | {"run_dir": str(tmp_path / "run")} | changes)


class World:
    """Three chained stages that append to files, so that resuming and redoing can be told apart."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.fail_in: str | None = None

    def stages(self) -> tuple[Stage, ...]:
        return (
            self.stage("first", (), lambda recipe: recipe.seed),
            self.stage("second", ("first",), lambda recipe: recipe.pretrain.lr),
            self.stage("other", ("first",), lambda recipe: recipe.seeds),
            self.stage("third", ("second",), lambda recipe: 0),
        )

    def stage(self, name: str, needs: tuple[str, ...], settings: Any) -> Stage:
        def run(recipe: Recipe, stamps: Any) -> str:
            self.ran.append(name)
            with (recipe.run_path / name).open("a") as file:
                file.write("x")
            if self.fail_in == name:
                raise PmcLlamaError("cut off")
            return "made"

        return Stage(name, "working", needs, settings, lambda recipe: [recipe.run_path / name], run)

    def run(self, recipe: Recipe, **options: Any) -> list[str]:
        self.ran = []
        Pipeline(recipe, self.stages()).run(**options)
        return self.ran


@pytest.fixture
def world() -> World:
    return World()


def test_second_run_does_nothing(tmp_path: Path, world: World) -> None:
    recipe = make_recipe(tmp_path)
    assert world.run(recipe) == ["first", "second", "other", "third"]
    assert world.run(recipe) == []


def test_changed_setting_redoes_its_stage_and_what_depends_on_it_only(tmp_path: Path, world: World) -> None:
    world.run(make_recipe(tmp_path))
    assert world.run(make_recipe(tmp_path, pretrain={"lr": 1e-3})) == ["second", "third"]
    assert (tmp_path / "run" / "second").read_text() == "x", "outputs of other settings must go before the stage runs"
    assert world.run(make_recipe(tmp_path, pretrain={"lr": 1e-3}, seeds=[4])) == ["other"]


def test_force_redoes_a_stage_and_what_depends_on_it(tmp_path: Path, world: World) -> None:
    recipe = make_recipe(tmp_path)
    world.run(recipe)
    assert world.run(recipe, force="second") == ["second", "third"]


def test_forced_stage_invalidates_dependents_even_if_the_run_ends_before_them(tmp_path: Path, world: World) -> None:
    recipe = make_recipe(tmp_path)
    world.run(recipe)
    assert world.run(recipe, force="second", until="second") == ["second"]
    assert world.run(recipe) == ["third"]


def test_until_stops_after_the_stage(tmp_path: Path, world: World) -> None:
    assert world.run(make_recipe(tmp_path), until="second") == ["first", "second"]


def test_interrupted_stage_finds_its_own_outputs_again(tmp_path: Path, world: World) -> None:
    recipe = make_recipe(tmp_path)
    world.fail_in = "second"
    with pytest.raises(PmcLlamaError, match="cut off"):
        world.run(recipe)
    world.fail_in = None
    assert world.run(recipe) == ["second", "other", "third"]
    assert (tmp_path / "run" / "second").read_text() == "xx", "the second attempt must continue the first one's output"


def test_deleted_output_is_made_again(tmp_path: Path, world: World) -> None:
    recipe = make_recipe(tmp_path)
    world.run(recipe)
    (tmp_path / "run" / "third").unlink()
    assert world.run(recipe) == ["third"]


def test_stale_stages_tell_why_and_change_nothing(tmp_path: Path, world: World) -> None:
    world.run(make_recipe(tmp_path))
    changed = Pipeline(make_recipe(tmp_path, pretrain={"lr": 1e-3}), world.stages())
    expected = {"first": None, "second": "settings changed", "other": None, "third": "builds on second"}
    assert changed.stale_stages() == expected
    assert changed.stale_stages() == expected


def test_unknown_stage_is_refused_with_the_known_ones(tmp_path: Path, world: World) -> None:
    with pytest.raises(PmcLlamaError, match=r"--until thrid: not a stage.*first, second, other, third"):
        world.run(make_recipe(tmp_path), until="thrid")


def test_run_directory_is_used_by_one_run_at_a_time(tmp_path: Path, world: World) -> None:
    recipe = make_recipe(tmp_path)
    world.run(recipe)
    with (recipe.run_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(PmcLlamaError, match="in use by another run"):
            world.run(recipe)


def test_one_process_of_several_refuses_to_wait_for_data_work(tmp_path: Path, world: World) -> None:
    with pytest.raises(PmcLlamaError, match="stage first is not ready"):
        Pipeline(make_recipe(tmp_path), world.stages()).run_alone("second")


def test_run_directory_tells_what_was_done(tmp_path: Path, world: World) -> None:
    world.run(make_recipe(tmp_path))
    run = tmp_path / "run"
    assert parse_recipe(yaml.safe_load((run / "recipe.yaml").read_text())) == make_recipe(tmp_path)
    assert read_json(run / "environment.json")["packages"]["torch"]
    assert len((run / "logs" / "history.jsonl").read_text().splitlines()) == 5
