"""The whole recipe, shrunk to seconds, through the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

RECIPES = Path(__file__).parents[2] / "recipes"
SHRUNK = {
    "seeds": "[0]",
    "minimed.drugs": "8",
    "minimed.papers_per_drug": "3",
    "minimed.general_papers": "40",
    "base.train.max_steps": "6",
    "pretrain.max_steps": "6",
    "regimes": "{zero_shot: {kind: zero_shot}, full: {kind: full, tasks: [direct_fact], seq_len: 128, max_steps: 2}, "
    "peft: {kind: peft, tasks: [direct_fact], seq_len: 128, max_steps: 2}}",
}


def arguments(run_dir: Path, **changes: str) -> list[str]:
    settings = SHRUNK | {"run_dir": str(run_dir)} | {key.replace("__", "."): value for key, value in changes.items()}
    overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return [sys.executable, "-m", "pmc_llama.cli", "run", str(RECIPES / "minimed.yaml"), *overrides]


def run(run_dir: Path, *options: str, **changes: str) -> dict[str, str]:
    """Run the recipe; returns the last line that it prints of each stage."""
    done = subprocess.run([*arguments(run_dir, **changes), *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.partition(": ") for line in done.stdout.splitlines() if ": " in line]
    return {stage: rest for stage, _, rest in lines}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("minimed") / "run"
    run(run_dir)
    return run_dir


def test_every_part_of_the_run_directory_is_there(finished: Path) -> None:
    for name in (
        "recipe.yaml",
        "environment.json",
        "corpus/corpus.json",
        "general/corpus.json",
        "tokens/corpus/store.json",
    ):
        assert (finished / name).is_file(), name
    for model in ("base", "adapted"):
        assert (finished / "models" / model / "model.safetensors").is_file()
    page = (finished / "report.html").read_text()
    assert "direct_fact" in page and "</html>" in page


def test_corpus_accounts_for_every_paper(finished: Path) -> None:
    for name in ("corpus", "general"):
        totals = json.loads((finished / name / "corpus.json").read_text())
        assert totals["in"] == totals["kept"] + sum(totals["dropped"].values())
        assert totals["kept"] > 0


def test_predictions_hold_every_cell_and_question(finished: Path) -> None:
    predictions = pl.read_parquet(finished / "predictions.parquet")
    questions = pl.read_parquet(finished / "questions.parquet")
    cells = predictions.group_by("model", "regime", "seed").len()
    assert set(cells["regime"]) == {"zero_shot", "full", "peft"} and len(cells) == 6
    assert set(cells["len"]) == {len(questions)}
    in_domain = set(predictions.filter(pl.col("protocol") == "in_domain")["task"])
    assert in_domain == {"direct_fact"}


def test_results_compare_base_and_adapted(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    assert {row["regime"] for row in results["comparisons"]} == {"zero_shot", "full", "peft"}
    for row in results["comparisons"]:
        assert 0 <= row["mcnemar_p"] <= row["holm_p"] <= 1


def test_second_run_does_nothing_and_a_changed_setting_only_what_depends_on_it(finished: Path) -> None:
    assert set(run(finished).values()) == {"up to date"}
    states = run(finished, "--dry-run", pretrain__lr="1e-4")
    assert {stage for stage, state in states.items() if state == "up to date"} == {
        "minimed",
        "corpus",
        "general",
        "tokens",
        "base",
    }
    redone = run(finished, pretrain__lr="1e-4")
    assert redone["corpus"] == redone["base"] == "up to date"
    assert "2 models tuned, 2 were up to date" in redone["finetune"]
    assert "3 models scored" in redone["evaluate"] and "3 were up to date" in redone["evaluate"]
    run(finished)  # the fixture's own settings again, for the tests that follow


def test_killed_run_ends_as_if_it_had_not_been_killed(finished: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(arguments(tmp_path / "run"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metrics = tmp_path / "run" / "train" / "pretrain" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline and not metrics.exists():
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    run(tmp_path / "run")
    expected, found = (pl.read_parquet(path / "predictions.parquet") for path in (finished, tmp_path / "run"))
    assert found.equals(expected)


def test_mistakes_are_one_sentence_and_status_2(tmp_path: Path) -> None:
    command = arguments(tmp_path / "run", pretrain__lrr="1")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "did you mean 'lr'" in done.stderr and "Traceback" not in done.stderr
