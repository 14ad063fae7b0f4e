"""The benchmarks of training run end to end, small: what they measure is what they say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def start(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.mark.slow
def test_neither_a_whole_model_nor_all_logits_are_held() -> None:
    *loading, ours, plain = json.loads(start("benchmarks/train_memory.py", "--size", "small").splitlines()[-1])
    assert len(loading) == 2
    for row in loading:
        shard = row["shard_bytes"]
        assert shard == pytest.approx(row["model_bytes"] / 2, rel=0.01)
        assert 0.9 * shard < row["peak_bytes"] < shard + row["largest_tensor_bytes"] < row["model_bytes"]
    assert ours["peak_bytes"] < ours["logits_bytes"] / 2 < plain["peak_bytes"], "logits are never whole"


@pytest.mark.slow
def test_the_gpu_benchmark_compares_both_sides_at_the_same_loss(tmp_path: Path) -> None:
    results = tmp_path / "train_gpu.json"
    arguments = ["--smoke", "--steps", "3", "--micro-batch", "2", "--sides", "ours-eager", "trainer", "--profile"]
    said = start("benchmarks/train_gpu.py", *arguments, "--results", str(results))
    assert "6·N + 12·L·d·T" in said, "the formula stands beside the numbers"
    [row] = json.loads(results.read_text())["rows"]
    assert row["peer_name"] == "trainer" and row["ours"] > 0 and row["ratio"] == row["ours"] / row["peer"]
    ours, peer = row["sides"]["ours"], row["sides"]["peer"]
    assert ours["loss"] == pytest.approx(peer["loss"], rel=0.01), "the same tokens through the same shape"
    assert ours["mfu"] is None, "of a device that is not known"


@pytest.mark.slow
def test_the_script_for_a_gpu_runs_all_its_sections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUT", str(tmp_path))
    start("benchmarks/gpu_run.py", "--smoke")
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["section"] for line in lines if line["name"] == "end" and line["ended"] == "ok"] == [
        *("environment", "correct", "ceilings", "ours", "variants", "trainer", "smaller", "float8", "scoring"),
        "compiled",
    ]
    by_name = {line["name"]: line for line in lines}
    assert by_name["curve full, selective"]["difference"] < 0.02
    mine, theirs = by_name["7B layers, compiled"]["loss"], by_name["7B layers, Trainer"]["loss"]
    assert mine == pytest.approx(theirs, rel=0.01), "the same tokens through the same shape"


def test_a_section_that_fails_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = """
import sys, time
sys.path.insert(0, "benchmarks")
import gpu_run, gpu_checks, gpu_speed
gpu_checks.environment = lambda record: 1 / 0
gpu_speed.float8 = lambda record: time.sleep(300)
gpu_run.LIMITS_S["float8"] = 0.5
sys.argv = ["gpu_run.py", "--smoke", "environment", "float8"]
sys.exit(gpu_run.main() - 1)  # it says that something failed
"""
    monkeypatch.setenv("OUT", str(tmp_path))
    start("-c", script)
    ends = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [(line["section"], line["ended"]) for line in ends] == [
        ("environment", "status 1"),
        ("float8", "time limit"),
    ]
    assert "ZeroDivisionError" in ends[0]["said"] and ends[1]["seconds"] < 30


@pytest.mark.slow
def test_the_true_size_check_goes_the_whole_way(tmp_path: Path) -> None:
    if not (ROOT.parent / "shared/data/tokenizer/mistral-v1/tokenizer.model").is_file():
        pytest.skip("the tokenizer in shared/data is not here")
    said = start("benchmarks/true_size.py", "--folder", str(tmp_path), "--size", "small")
    assert [line.split()[0] for line in said.splitlines() if "x the weights" in line] == ["tune", "merge", "ask"]
    assert "'questions': 20, 'finite': True" in said and "'moved': 0.0}" not in said
