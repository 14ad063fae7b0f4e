"""Stages: done once, redone when what decides them changed, resumed when interrupted, and nothing made is lost."""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from builders import small_recipe
from pmc_llama.errors import InputError, PmcLlamaError
from pmc_llama.files import read_json
from pmc_llama.pipeline.identity import Input
from pmc_llama.pipeline.run import Pipeline
from pmc_llama.pipeline.stage import Context, Stage, Work
from pmc_llama.recipe import Recipe, parse_recipe
from pmc_llama.records.stamps import read_stamp
from pmc_llama.run_dir import RunDir


def make_recipe(tmp_path: Path, **changes: Any) -> Recipe:
    return parse_recipe(small_recipe() | {"run_dir": str(tmp_path / "run")} | changes)


class Fake(Stage):
    """A stage that writes one file, `name/result`, with the text that the world says."""

    doing = "working"

    def __init__(self, world: "World", name: str, needs: tuple[str, ...], settings: Callable[[Recipe], Any]) -> None:
        self.world, self.name, self.needs, self.settings = world, name, needs, settings  # type: ignore[misc]

    def works(self, context: Context) -> list[Work]:
        files = self.world.inputs.get(self.name, [])
        return [
            Work(
                self.name,
                self.settings(context.recipe),
                (Path(self.name),),
                beside=(Path("beside") / self.name,),
                upstream=self.needs,
                inputs=lambda: [Input(file.name, (str(file),)) for file in files],
                trains=self.name in self.world.trained,
            )
        ]

    def make(self, context: Context, work: Work, out: RunDir) -> str:
        self.world.ran.append(self.name)
        folder = out.root / self.name
        folder.mkdir(exist_ok=True)
        beside = out.root / "beside" / self.name
        beside.mkdir(parents=True, exist_ok=True)
        with (beside / "attempts").open("a") as file:
            file.write("x")
        if self.world.fail_in == self.name:
            raise PmcLlamaError("cut off")
        (folder / "result").write_text(self.world.texts.get(self.name, "made"))
        return "made"


class World:
    """Four stages: first -> second -> third, and first -> other; seed decides first, pretrain.lr second."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.fail_in: str | None = None
        self.texts: dict[str, str] = {}
        self.inputs: dict[str, list[Path]] = {}
        self.trained: set[str] = set()

    def pipeline(self, recipe: Recipe) -> Pipeline:
        return Pipeline(
            recipe,
            (
                Fake(self, "first", (), lambda recipe: recipe.seed),
                Fake(self, "second", ("first",), lambda recipe: recipe.pretrain.settings("pretrain")),
                Fake(self, "other", ("first",), lambda recipe: recipe.seeds),
                Fake(self, "third", ("second",), lambda recipe: 0),
            ),
        )

    def run(self, recipe: Recipe, **options: Any) -> list[str]:
        self.ran = []
        self.pipeline(recipe).run(**options)
        return self.ran


@pytest.fixture(autouse=True)
def no_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe of these tests has no inputs; that is not what is tested."""
    monkeypatch.setattr(Pipeline, "check", lambda self, until=None: None)


@pytest.fixture
def world() -> World:
    return World()


def content(tmp_path: Path, name: str) -> str:
    return (tmp_path / "run" / name / "result").read_text()


def test_second_run_does_nothing(tmp_path: Path, world: World) -> None:
    recipe = make_recipe(tmp_path)
    assert world.run(recipe) == ["first", "second", "other", "third"]
    assert world.run(recipe) == []


def test_changed_setting_redoes_its_stage_and_what_its_new_result_decides(tmp_path: Path, world: World) -> None:
    world.run(make_recipe(tmp_path))
    world.texts["second"] = "made differently"
    assert world.run(make_recipe(tmp_path, pretrain={"lr": 1e-3})) == ["second", "third"]
    assert content(tmp_path, "second") == "made differently"
    assert world.run(make_recipe(tmp_path, pretrain={"lr": 1e-3}, seeds=[4])) == ["other"]


def test_the_same_result_again_moves_nothing_that_builds_on_it(tmp_path: Path, world: World) -> None:
    world.run(make_recipe(tmp_path))
    assert world.run(make_recipe(tmp_path, pretrain={"lr": 1e-3})) == ["second"]


def test_a_setting_that_affects_nothing_moves_nothing(tmp_path: Path, world: World) -> None:
    world.run(make_recipe(tmp_path))
    assert world.run(make_recipe(tmp_path, pretrain={"micro_batch": 1, "eval_every": 3, "compile": True})) == []


def test_force_redoes_a_stage_and_what_depends_on_it_if_the_result_differs(tmp_path: Path, world: World) -> None:
    recipe = make_recipe(tmp_path)
    world.run(recipe)
    assert world.run(recipe, force="second") == ["second"]
    world.texts["second"] = "made differently"
    assert world.run(recipe, force="second", until="second") == ["second"]
    assert world.run(recipe) == ["third"]


def test_until_stops_after_the_stage(tmp_path: Path, world: World) -> None:
    assert world.run(make_recipe(tmp_path), until="second") == ["first", "second"]


def test_interrupted_stage_finds_its_own_outputs_again(tmp_path: Path, world: World) -> None:
    recipe = make_recipe(tmp_path)
    world.fail_in = "second"
    with pytest.raises(PmcLlamaError, match="cut off"):
        world.run(recipe)
    assert not (tmp_path / "run" / "second").exists(), "what is not whole is not where whole things are"
    world.fail_in = None
    assert world.run(recipe) == ["second", "other", "third"]
    assert (tmp_path / "run" / "beside" / "second" / "attempts").read_text() == "xx"


def test_work_left_off_with_other_settings_waits_beside_and_is_gone_on_with(tmp_path: Path, world: World) -> None:
    world.trained = {"second"}
    world.fail_in = "second"
    with pytest.raises(PmcLlamaError, match="cut off"):
        world.run(make_recipe(tmp_path))
    with pytest.raises(PmcLlamaError, match="cut off"):
        world.run(make_recipe(tmp_path, pretrain={"lr": 1e-3}))
    world.fail_in = None
    world.run(make_recipe(tmp_path))
    assert (tmp_path / "run" / "beside" / "second" / "attempts").read_text() == "xx"
    assert len(list((tmp_path / "run" / "making").glob("second~*"))) == 1


def test_old_result_stays_until_the_new_one_is_whole(tmp_path: Path, world: World) -> None:
    world.run(make_recipe(tmp_path))
    world.fail_in, world.texts["second"] = "second", "new"
    with pytest.raises(PmcLlamaError, match="cut off"):
        world.run(make_recipe(tmp_path, pretrain={"lr": 1e-3}))
    assert content(tmp_path, "second") == "made"
    world.fail_in = None
    world.run(make_recipe(tmp_path, pretrain={"lr": 1e-3}))
    assert content(tmp_path, "second") == "new"


def test_deleted_output_is_made_again(tmp_path: Path, world: World) -> None:
    recipe = make_recipe(tmp_path)
    world.run(recipe)
    (tmp_path / "run" / "third" / "result").unlink()
    assert world.run(recipe) == ["third"]


def test_result_moved_away_is_made_from_what_lies_beside_it(tmp_path: Path, world: World) -> None:
    recipe = make_recipe(tmp_path)
    world.run(recipe)
    (tmp_path / "run" / "second").rename(tmp_path / "moved")
    assert world.run(recipe) == ["second"]
    assert (tmp_path / "run" / "beside" / "second" / "attempts").read_text() == "xx"


def test_touched_input_moves_nothing_and_changed_content_does(tmp_path: Path, world: World) -> None:
    file, recipe = tmp_path / "input.txt", make_recipe(tmp_path)
    file.write_text("one")
    os.utime(file, ns=(10**18, 10**18))
    world.inputs["second"] = [file]
    world.run(recipe)
    file.touch()
    assert world.run(recipe) == []
    before = file.stat()
    file.write_text("two")  # the same size, and the time put back, as copying tools do
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert world.pipeline(recipe).stale()["second"] == "input.txt has another content"
    assert world.run(recipe) == ["second"]


def test_untouched_input_is_not_read_again(tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    file, recipe = tmp_path / "input.txt", make_recipe(tmp_path)
    file.write_text("one")
    monkeypatch.setattr("pmc_llama.pipeline.identity.SETTLED_S", 0.0)
    time.sleep(0.05)
    world.inputs["second"] = [file]
    world.run(recipe)
    monkeypatch.setattr(Input, "sha256", lambda self: pytest.fail("was read"))
    assert world.run(recipe) == []


def test_trained_model_is_not_trained_again_unasked(tmp_path: Path, world: World) -> None:
    world.trained = {"second"}
    world.run(make_recipe(tmp_path))
    world.texts["second"] = "trained again"
    changed = make_recipe(tmp_path, pretrain={"lr": 1e-3})
    with pytest.raises(PmcLlamaError, match=r"second: trained in about 0 s, lr changed(.|\n)*--retrain"):
        world.run(changed)
    assert world.ran == [] and content(tmp_path, "second") == "made"
    assert world.run(changed, retrain=True) == ["second", "third"]


def test_trained_model_is_asked_for_also_where_what_it_builds_on_turns_out_another(
    tmp_path: Path, world: World
) -> None:
    world.trained = {"second"}
    world.run(make_recipe(tmp_path))
    world.texts["first"] = "another"
    with pytest.raises(PmcLlamaError, match="second: trained in about 0 s, first is another one"):
        world.run(make_recipe(tmp_path, seed=4))
    assert world.ran == ["first"]
    world.texts["first"] = "made"
    assert world.run(make_recipe(tmp_path)) == ["first"], "the same content as at first: nothing else moves"


def test_yes_in_a_terminal_trains_again(tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.trained = {"second"}
    world.run(make_recipe(tmp_path))
    said = iter(["n\n", "y\n"])
    terminal = type("Terminal", (), {"isatty": lambda self: True, "readline": lambda self: next(said)})()
    monkeypatch.setattr("sys.stdin", terminal)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    changed = make_recipe(tmp_path, pretrain={"lr": 1e-3})
    with pytest.raises(PmcLlamaError, match="nothing was trained again"):
        world.run(changed)
    assert world.run(changed) == ["second"]


def test_files_of_others_where_outputs_belong_are_refused_by_name(tmp_path: Path, world: World) -> None:
    mine = tmp_path / "run" / "third" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("my notes")
    with pytest.raises(InputError, match=r"third/mine.txt"):
        world.run(make_recipe(tmp_path), until="first")
    assert mine.read_text() == "my notes" and world.ran == []


def test_file_put_beside_a_result_later_is_not_deleted_with_it(tmp_path: Path, world: World) -> None:
    world.run(make_recipe(tmp_path))
    mine = tmp_path / "run" / "second" / "mine.txt"
    mine.write_text("my notes")
    with pytest.raises(InputError, match=r"second/mine.txt"):
        world.run(make_recipe(tmp_path, pretrain={"lr": 1e-3}))
    assert mine.read_text() == "my notes" and content(tmp_path, "second") == "made"


@pytest.mark.parametrize("name", ["recipe.yaml", "environment.json"])
def test_own_file_at_the_top_is_not_overwritten(tmp_path: Path, world: World, name: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text("mine")
    with pytest.raises(InputError, match=name):
        world.run(make_recipe(tmp_path))
    assert (tmp_path / "run" / name).read_text() == "mine"


def test_outputs_on_another_disk_stay_there(tmp_path: Path, world: World) -> None:
    (tmp_path / "disk" / "second").mkdir(parents=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "second").symlink_to(tmp_path / "disk" / "second")
    world.run(make_recipe(tmp_path))
    assert (tmp_path / "run" / "second").is_symlink()
    assert (tmp_path / "disk" / "second" / "result").read_text() == "made"
    world.texts["second"] = "new"
    world.run(make_recipe(tmp_path, pretrain={"lr": 1e-3}))
    assert (tmp_path / "disk" / "second" / "result").read_text() == "new"


def test_killed_between_the_parts_of_a_swap_it_is_finished_by_the_next_call(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(tmp_path)
    world.run(recipe)
    world.texts["second"] = "new"
    for calls in range(1, 6):
        left = [calls]
        rename = Path.rename

        def failing(self: Path, target: Path, left: list[int] = left, rename: Any = rename) -> Path:
            if "second" in str(self) and ".partial" not in self.name:
                left[0] -= 1
                if left[0] == 0:
                    raise KeyboardInterrupt
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", failing)
        changed = make_recipe(tmp_path, pretrain={"lr": 1e-3 * calls})
        try:
            world.run(changed)
        except KeyboardInterrupt:
            monkeypatch.setattr(Path, "rename", rename)
            world.run(changed)
        monkeypatch.setattr(Path, "rename", rename)
        assert content(tmp_path, "second") == "new"
        assert world.run(changed) == []
        assert not list((tmp_path / "run" / "making").glob("*"))


def test_stale_stages_tell_why_and_change_nothing(tmp_path: Path, world: World) -> None:
    world.run(make_recipe(tmp_path))
    changed = world.pipeline(make_recipe(tmp_path, pretrain={"lr": 1e-3}))
    expected = {"first": None, "second": "lr changed", "other": None, "third": "builds on second"}
    assert changed.stale() == expected
    assert changed.stale() == expected


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


def test_run_directory_tells_what_was_done(tmp_path: Path, world: World) -> None:
    world.run(make_recipe(tmp_path))
    run = tmp_path / "run"
    assert parse_recipe(yaml.safe_load((run / "recipe.yaml").read_text())) == make_recipe(tmp_path)
    assert read_json(run / "environment.json")["packages"]["torch"]
    assert len((run / "logs" / "history.jsonl").read_text().splitlines()) == 5
    stamp = read_stamp(RunDir(run).stamp("second"))
    assert stamp is not None and RunDir(run).recipe_of(stamp.recipe).is_file()
