import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pmc_llama.errors import RecipeError
from pmc_llama.train.boards import open_boards

Calls = list[tuple[Any, ...]]


class Run:
    def __init__(self, name: str, calls: Calls) -> None:
        self.name, self.calls = name, calls

    def log(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.calls.append((self.name, step, metrics))

    def finish(self) -> None:
        self.calls.append((self.name, "end"))


def services(calls: Calls) -> dict[str, SimpleNamespace]:
    """W&B and trackio as far as they are asked: their `init` takes no other arguments."""

    def wandb(project: str, name: str, config: Any, id: str, resume: str, reinit: str) -> Run:
        calls.append(("wandb", project, name, id, resume, reinit, config))
        return Run("wandb", calls)

    def trackio(project: str, name: str, config: Any, resume: str = "never") -> None:
        calls.append(("trackio", project, name, resume, config))

    one = Run("trackio", calls)
    return {
        "wandb": SimpleNamespace(init=wandb),
        "trackio": SimpleNamespace(init=trackio, log=one.log, finish=one.finish),
    }


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls: Calls = []
    for name, module in services(calls).items():
        monkeypatch.setitem(sys.modules, name, module)  # type: ignore[arg-type]
    return calls


def train(folder: Path, tracker: str, resumed_at: int = 0, config: object = None) -> None:
    folder.mkdir(exist_ok=True)
    boards = open_boards(folder, "full", resumed_at, [tracker], config)
    for step in (resumed_at + 1, resumed_at + 2):
        for board in boards:
            board.write({"train/loss": step / 2}, step)
    for board in boards:
        board.close()


def test_each_training_is_a_run_of_its_own_and_goes_on_in_it(tmp_path: Path, calls: Calls) -> None:
    train(tmp_path / "a", "wandb", config={"lr": 1})
    train(tmp_path / "b", "wandb")
    train(tmp_path / "a", "wandb", resumed_at=2)
    train(tmp_path / "a", "wandb")  # once more from the beginning
    opened = [call for call in calls if len(call) > 3]
    first, second, resumed, again = (call[3] for call in opened)
    assert first == resumed and len({first, second, again}) == 3
    assert opened[0] == ("wandb", "pmc-llama", "full", first, "allow", "create_new", {"lr": 1})
    written = [("wandb", 1, {"train/loss": 0.5}), ("wandb", 2, {"train/loss": 1.0}), ("wandb", "end")]
    assert [call for call in calls if len(call) < 4][:6] == written * 2


def test_trackio_which_knows_no_ids_gets_names(tmp_path: Path, calls: Calls) -> None:
    train(tmp_path / "a", "trackio")
    train(tmp_path / "b", "trackio")
    train(tmp_path / "a", "trackio", resumed_at=2)
    first, second, resumed = (call[2] for call in calls if len(call) > 3)
    assert first == resumed != second and first.startswith("full-")
    assert calls[0][3] == "allow"
    assert [call for call in calls if len(call) == 2] == [("trackio", "end")] * 3


def test_without_trackers_nothing_is_kept_of_them(tmp_path: Path) -> None:
    for board in open_boards(tmp_path, "full", 0, [], None):
        board.write({"loss": 1.0}, 1)
        board.close()
    assert [path.name for path in tmp_path.iterdir()] == ["tensorboard"]


def test_a_tracker_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(RecipeError, match=r"wandb is not installed \(pip install wandb\)"):
        open_boards(tmp_path, "full", 0, ["wandb"], None)


TWO = """
import sys
from pathlib import Path
from pmc_llama.train.boards import open_boards
for name in ("a", "b"):
    (Path(sys.argv[1]) / name).mkdir()
    boards = open_boards(Path(sys.argv[1]) / name, name, 0, ["wandb"], {"lr": 1})
    for step in (1, 2):
        for board in boards:
            board.write({"train/loss": 1.0}, step)
    for board in boards:
        board.close()
"""


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_wandb_itself_keeps_two_trainings_of_a_process_apart(tmp_path: Path) -> None:
    env = os.environ | {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "WANDB_SILENT": "false"}
    done = subprocess.run(
        [sys.executable, "-c", TWO, str(tmp_path)], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "will be ignored" not in done.stderr and "previous run" not in done.stderr
    ids = {(tmp_path / name / "tracker_run.txt").read_text() for name in "ab"}
    assert {path.name.rpartition("-")[2] for path in (tmp_path / "wandb").glob("offline-run-*")} == ids
    assert len(ids) == 2
