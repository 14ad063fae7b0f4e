"""Pre-training as a stage, on a real tiny model: what a change, a kill and a second process leave of it."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from corpus.samples import s2orc_row, write_lines
from pmc_llama.files import read_record, write_json
from pmc_llama.pipeline.run import run_recipe
from pmc_llama.records.stamps import MADE_BY, MadeBy, read_stamp
from pmc_llama.records.training import read_finished, read_metrics
from pmc_llama.run_dir import RunDir
from pmc_llama.train.metrics import Metrics
from release.tiny import save_model, tiny_model, tiny_tokenizer

WORDS = "Patients with hypertension received zolimab for 12 weeks, and their blood pressure was lower. "


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Papers, a tokenizer and a base."""
    root = tmp_path_factory.mktemp("data")
    tokenizer = tiny_tokenizer(root)
    save_model(tiny_model(tokenizer, steps=1), tokenizer, root / "base")
    write_lines(root / "shard.jsonl.gz", [s2orc_row(n, pmcid=str(n), text=f"{n}. {WORDS * 8}") for n in range(1, 30)])
    return root


@pytest.fixture
def recipe(data: Path, tmp_path: Path) -> Path:
    value: dict[str, Any] = {
        "name": "small",
        "run_dir": str(tmp_path / "run"),
        "workers": 1,
        "data": {"root": str(data)},
        "corpus": {"sources": [{"name": "s2orc", "paths": ["shard.jsonl.gz"]}], "clean": {"profile": "raw"}},
        "tokenizer": {"path": "tokenizer.model"},
        "tokens": {"heldout_fraction": 0.2},
        "base": {"path": "base"},
        "pretrain": {"seq_len": 32, "global_batch": 4, "micro_batch": 4, "max_steps": 9, "epochs": 50, "save_every": 3},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(value))
    return tmp_path / "recipe.yaml"


def train(recipe: Path, *settings: str, **options: Any) -> RunDir:
    run_recipe(recipe, list(settings), until="pretrain", **options)
    return RunDir(recipe.parent / "run")


def checkpoints(run: RunDir) -> list[str]:
    return sorted(path.parent.name for path in run.training("pretrain").checkpoints.glob("step-*/COMPLETE"))


class Crash(BaseException):
    """What no code expects, as a power cut."""


def crash(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Let training break off at a step; at 0 never."""
    add = ADD

    def failing(self: Metrics, step: int, *values: Any) -> None:
        add(self, step, *values)
        if step == at:
            raise Crash

    monkeypatch.setattr(Metrics, "add", failing)


ADD = Metrics.add


def test_broken_off_and_gone_on_with_other_micro_batches_it_keeps_its_checkpoints(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDir(recipe.parent / "run")
    crash(monkeypatch, 7)  # when the checkpoint of step 6 was begun, that of step 3 was whole
    with pytest.raises(Crash):
        train(recipe)
    assert "step-00000003" in checkpoints(run), "seen under train/pretrain while it is not finished"
    changes = ["pretrain.micro_batch=2", "pretrain.eval_every=4", "pretrain.activation_checkpointing=full"]
    crash(monkeypatch, 9)
    with pytest.raises(Crash):
        train(recipe, *changes)
    assert "step-00000003" in checkpoints(run)
    crash(monkeypatch, 0)
    train(recipe, *changes)
    assert [one.step for one in read_metrics(run.training("pretrain").metrics).steps] == list(range(1, 10))
    assert checkpoints(run) == ["step-00000006", "step-00000009"]


def test_a_model_moved_away_is_exported_again_from_the_kept_checkpoint(recipe: Path) -> None:
    run = train(recipe)
    written, summary = (run.adapted_model / "model.safetensors").read_bytes(), read_finished(
        run.training("pretrain").summary
    )  # fmt: skip
    shutil.move(run.adapted_model, recipe.parent / "moved")
    train(recipe)  # nobody is asked: nothing is trained again
    assert (run.adapted_model / "model.safetensors").read_bytes() == written
    assert checkpoints(run) == ["step-00000006", "step-00000009"]
    again = read_finished(run.training("pretrain").summary)
    assert summary is not None and again is not None and again.summary.loss == summary.summary.loss
    assert again.summary.heldout == summary.summary.heldout


def test_killed_in_the_export_it_still_knows_its_loss(recipe: Path) -> None:
    run = train(recipe)
    before = read_finished(run.training("pretrain").summary)
    stamp = read_stamp(run.stamp("pretrain"))
    assert stamp is not None and before is not None
    home = run.making(
        "pretrain", stamp.identity
    )  # the state that kill -9 leaves between the last checkpoint and the end
    home.training("pretrain").root.parent.mkdir(parents=True)
    shutil.move(run.training("pretrain").root, home.training("pretrain").root)
    home.training("pretrain").summary.unlink()
    write_json(home.making_stamp, msgspec.structs.replace(stamp, token=None))
    run.stamp("pretrain").unlink()
    shutil.rmtree(run.adapted_model)
    for _ in range(2):
        train(recipe)
        after = read_finished(run.training("pretrain").summary)
        assert after is not None and (after.summary.loss, after.summary.heldout) == (
            before.summary.loss,
            before.summary.heldout,
        )


def test_a_checkpoint_that_was_cut_off_is_removed(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDir(recipe.parent / "run")
    crash(monkeypatch, 5)
    with pytest.raises(Crash):
        train(recipe)
    cut = run.training("pretrain").checkpoints / "step-00000004"
    cut.mkdir()
    (cut / "__0_0.distcp").write_bytes(b"half")
    crash(monkeypatch, 0)
    train(recipe)
    left = [path.name for path in run.training("pretrain").checkpoints.iterdir()]
    assert sorted(left) == ["step-00000006", "step-00000009"]


def test_a_model_says_beside_its_weights_what_made_it(recipe: Path) -> None:
    run = train(recipe)
    made = read_record(run.adapted_model / MADE_BY, MadeBy)
    stamp = read_stamp(run.stamp("pretrain"))
    assert stamp is not None and (made.work, made.upstream) == ("pretrain", stamp.upstream)
    assert set(made.upstream) == {"base", "tokens/corpus"} and made.settings["max_steps"] == 9


def together(recipe: Path, *settings: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    command += ["pmc_llama.cli", "run", str(recipe), "--until", "pretrain"]
    command += [part for setting in settings for part in ("--set", setting)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_two_processes_take_the_lock_and_write_the_same_records(recipe: Path) -> None:
    run_recipe(recipe, until="base")
    run = RunDir(recipe.parent / "run")
    with run.lock.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = together(recipe)
    assert refused.returncode != 0 and refused.stderr.count("is in use by another run") == 1
    assert read_stamp(run.stamp("pretrain")) is None
    done = together(recipe)
    assert done.returncode == 0, done.stderr[-2000:]
    stamp = read_stamp(run.stamp("pretrain"))
    assert stamp is not None and stamp.finished and run.recipe_of(stamp.recipe).is_file()
    assert read_record(run.adapted_model / MADE_BY, MadeBy).work == "pretrain"
    assert "pretrain.lr" not in done.stdout and "finished" in run.history.read_text()
    retrained = together(recipe, "pretrain.lr=0.5")
    assert retrained.returncode != 0 and "--retrain" in retrained.stderr
    assert read_stamp(run.stamp("pretrain")) == stamp


def test_folders_of_a_run_may_be_links_to_another_disk(recipe: Path, tmp_path: Path) -> None:
    for name in ("corpus", "tokens", "train", "models"):
        (tmp_path / "another disk" / "deeper" / name).mkdir(parents=True)
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / name).symlink_to(tmp_path / "another disk" / "deeper" / name)
    run = train(recipe)
    finished = read_finished(run.training("pretrain").summary)
    assert finished is not None and finished.summary.steps == 9
    assert (tmp_path / "another disk" / "deeper" / "models").is_dir()
    assert all((tmp_path / "run" / name).is_symlink() for name in ("corpus", "tokens", "train", "models"))
