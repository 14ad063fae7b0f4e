"""Any number of processes gives the same gradients, losses and weights, and stops and continues as one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from distributed import worker
from pmc_llama.records.training import read_metrics
from train.tiny import Source, run

pytestmark = pytest.mark.slow
TESTS = Path(__file__).parents[1]
WORKER = str(TESTS / "distributed" / "worker.py")
WITH_TESTS = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": WITH_TESTS}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs of this file, of 1 to 4 processes, beside their like in this process."""
    out = tmp_path_factory.mktemp("widths")
    run(out / "base", Source(4))
    run(out / "whole", Source(worker.STEPS))
    worker.gradients(out, micro_batch=8)
    worker.gradients(out, micro_batch=1)
    worker.few_rows(out)
    worker.lora(out)
    command = [
        sys.executable,
        WORKER,
        str(out),
        "2:part,stops,lora,again",
        "1:part",
        "3:rest",
        "4:gradients,replicas,few_rows",
    ]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return out


def losses(folder: Path) -> list[float]:
    return [line.loss for line in read_metrics(folder / "metrics.jsonl").steps if line.loss is not None]


def largest_difference(a: Path, b: Path) -> float:
    mine, theirs = load_file(a), load_file(b)
    assert mine.keys() == theirs.keys()
    return max(float((mine[key] - theirs[key]).abs().max() / mine[key].abs().max().clamp_min(1e-6)) for key in mine)


@pytest.mark.parametrize("other", ["1-1-1", "4-1-4", "4-1-2"])
def test_gradients_depend_neither_on_micro_batches_nor_on_processes_nor_on_replicas(out: Path, other: str) -> None:
    assert largest_difference(out / "gradients-1-8-1.safetensors", out / f"gradients-{other}.safetensors") < 1e-5


def test_two_then_one_then_three_processes_are_one_run(out: Path) -> None:
    assert losses(out / "widths") == pytest.approx(losses(out / "whole"), rel=1e-6)
    assert len(losses(out / "widths")) == worker.STEPS
    assert largest_difference(out / "whole/model/model.safetensors", out / "widths/model/model.safetensors") < 1e-4


def test_a_signal_to_one_of_two_processes_stops_both_and_nothing_is_lost(out: Path) -> None:
    assert len((out / "stopped.txt").read_text().splitlines()) == len(worker.STOPS)
    assert losses(out / "stops") == pytest.approx(losses(out / "whole"), rel=1e-6)
    assert not (out / "stops/checkpoints").exists()


def test_sharded_lora_is_unsharded_lora(out: Path) -> None:
    assert losses(out / "lora-2") == pytest.approx(losses(out / "lora-1"), rel=1e-6)
    file = "model/adapter_model.safetensors"
    assert largest_difference(out / "lora-1" / file, out / "lora-2" / file) < 1e-4
    ranks = {name: int(torch.linalg.matrix_rank(value)) for name, value in load_file(out / "lora-2" / file).items()}
    assert set(ranks.values()) == {4}, ranks


def test_processes_without_rows_take_part_all_the_same(out: Path) -> None:
    assert losses(out / "few-4") == pytest.approx(losses(out / "few-1"), rel=1e-6)
    heldout = [read_metrics(out / f"few-{size}/metrics.jsonl").heldout[-1].heldout["x"] for size in (1, 4)]
    assert heldout[0].tokens == heldout[1].tokens
    assert heldout[0].loss == pytest.approx(heldout[1].loss, rel=1e-6)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not tell what a process has open")
def test_runs_that_follow_each_other_leave_no_sockets_and_no_threads(out: Path) -> None:
    counts = json.loads((out / "again.json").read_text())
    assert counts[-1] == counts[1], "the first two make a group each of their own"


def test_when_one_of_three_processes_fails_all_end(tmp_path: Path) -> None:
    command = [sys.executable, str(TESTS / "distributed" / "failing.py"), str(tmp_path), "raises", "killed", "stuck"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=240)
    found = dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))
    assert list(found) == ["raises", "killed", "stuck"], done.stderr[-4000:]
    for how, ended in found.items():
        assert [status for status, _ in ended] == [2, -9 if how == "killed" else 1, 2], how
        assert max(seconds for _, seconds in ended) < 60, how
    assert "another process of the run has ended, so this one ends too" in done.stderr


def test_torchrun_stopped_by_sigterm_leaves_a_checkpoint_that_one_process_goes_on_from(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", WORKER]
    process = subprocess.Popen([*command, str(tmp_path), "long"], env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    metrics = tmp_path / "long" / "metrics.jsonl"
    try:
        while not (metrics.exists() and len(read_metrics(metrics).steps) > 2):
            assert process.poll() is None, "the run ended by itself"
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        process.wait(300)
    finally:
        process.kill()
    said = {(tmp_path / f"stopped-{rank}").read_text() for rank in (0, 1)}
    assert len(said) == 1 and "resume with the same command" in said.pop()
    stopped_at = len(losses(tmp_path / "long"))
    run(tmp_path / "long", Source(worker.LONG))
    curve = losses(tmp_path / "long")
    assert 2 < stopped_at < len(curve) == worker.LONG
