"""How a call ends that is stopped or cannot write: one sentence, a status that says why, and the same call goes on."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.conftest import pmc_llama, shrunk

ROOT = Path(__file__).parents[2]


def written(folder: Path, finished: Path) -> Path:
    """A recipe on the demo's data whose pre-training would take minutes."""
    value: dict[str, Any] = shrunk()
    for key in ("minimed", "general"):
        value.pop(key)
    value |= {"run_dir": str(folder / "run"), "data": {"root": str(finished / "data")}, "workers": 1}
    value |= {"base": {"path": str(finished / "models/base")}, "tasks": {}, "regimes": {}}
    value["pretrain"] = {"seq_len": 64, "global_batch": 4, "micro_batch": 4, "max_steps": 4000, "epochs": 10_000}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(value))
    return folder / "recipe.yaml"


@pytest.fixture
def recipe(finished: Path, tmp_path: Path) -> Path:
    """A recipe of which nothing has been run."""
    return written(tmp_path, finished)


@pytest.fixture(scope="module")
def encoded(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of that recipe when the next that it does is to train."""
    place = tmp_path_factory.mktemp("encoded")
    done = pmc_llama(place, "run", str(written(place, finished)), "--until", "tokens")
    assert done.returncode == 0, done.stderr
    return place / "run"


@pytest.fixture
def training(recipe: Path, encoded: Path) -> Path:
    """A recipe of which everything before the training has been run."""
    shutil.copytree(encoded, recipe.parent / "run", symlinks=True)
    return recipe


def start(recipe: Path, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "pmc_llama.cli", "run", str(recipe), "--until", "pretrain", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stopped_in(process: "subprocess.Popen[str]", number: signal.Signals, when: Path) -> tuple[int, str]:
    deadline_s = time.monotonic() + 120
    while (
        not (when.exists() and when.stat().st_size > 800) and process.poll() is None and time.monotonic() < deadline_s
    ):
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)])
def test_training_that_is_told_to_stop_saves_and_says_so(training: Path, number: signal.Signals, status: int) -> None:
    run = training.parent / "run"
    returned, errors = stopped_in(start(training), number, run / "train" / "pretrain" / "metrics.jsonl")
    assert (returned, "Traceback" in errors) == (status, False), errors
    assert "resume with the same command" in errors.strip().splitlines()[-1]
    assert list((run / "train" / "pretrain" / "checkpoints").glob("step-*/COMPLETE"))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_other_stages_stop_with_one_sentence_too(recipe: Path, number: signal.Signals, status: int) -> None:
    run = recipe.parent / "run"
    process = start(recipe, "--set", "workers=2")
    returned, errors = stopped_in(process, number, run / "recipe.yaml")
    assert (returned, "Traceback" in errors) == (status, False), errors
    assert "the same command goes on" in errors or "resume with the same command" in errors
    done = pmc_llama(recipe.parent, "run", str(recipe), "--until", "tokens")
    assert done.returncode == 0, done.stderr


def test_a_time_limit_is_status_75_and_the_same_command_goes_on(training: Path) -> None:
    limited = ("--until", "pretrain", "--set", "pretrain.time_limit_s=1")
    for _ in range(2):
        done = pmc_llama(training.parent, "run", str(training), *limited)
        assert done.returncode == 75 and "stopped after step" in done.stderr
    steps = [int(line.rpartition("step ")[2].partition(";")[0]) for line in [done.stderr.strip().splitlines()[-1]]]
    assert steps[0] > 1
    dry = ("--until", "pretrain", "--set", "pretrain.max_steps=4000", "--dry-run")
    finished = pmc_llama(training.parent, "run", str(training), *dry)
    assert "pretrain: would run: interrupted" in finished.stdout


def test_a_file_that_cannot_be_written_is_one_sentence_and_the_same_command_goes_on(recipe: Path) -> None:
    short = ["--until", "pretrain", "--set", "pretrain.max_steps=2"]
    command = [sys.executable, "-m", "pmc_llama.cli", "run", str(recipe), *short]
    limited = ["bash", "-c", 'ulimit -f 64; exec "$@"', "limited", *command]  # files of at most 64 KiB
    done = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "cannot be written" in done.stderr and "File too large" in done.stderr
    assert pmc_llama(recipe.parent, "run", str(recipe), *short).returncode == 0
    assert not list((recipe.parent / "run").rglob("*.partial"))


def test_a_run_directory_with_a_name_too_long_is_one_sentence(recipe: Path, tmp_path: Path) -> None:
    done = pmc_llama(recipe.parent, "run", str(recipe), "--set", f"run_dir={tmp_path / ('n' * 300)}")
    assert done.returncode == 2 and "File name too long" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(("status", "requeued", "ends"), [(75, True, 0), (0, False, 0), (2, False, 2)])
def test_the_slurm_script_goes_back_into_the_queue_when_it_was_stopped_and_only_then(
    tmp_path: Path, status: int, requeued: bool, ends: int
) -> None:
    ran = f"echo $RANK $WORLD_SIZE $MASTER_PORT >> ran; exit {status}"
    srun = f"#!/bin/bash\nSLURM_PROCID=1 SLURM_LOCALID=1 \"${{@:3:3}}\" task bash -c '{ran}'\n"
    scripts = {"srun": srun, "scontrol": '#!/bin/bash\n[ "$1" = show ] && echo node1 || echo "$@" >> requeued\n'}
    for name, text in scripts.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "node1", "SLURM_NTASKS": "8"}
    command = ["bash", str(ROOT / "recipes/slurm/pretrain.sbatch"), "recipe.yaml", "runs/x"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment | {"SLURM_JOB_ID": "7"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == ends, done.stderr
    assert (tmp_path / "ran").read_text() == "1 8 29500\n"
    assert (tmp_path / "requeued").exists() == requeued
