"""The whole recipe, shrunk to seconds, through the command line."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from e2e.conftest import new_workplace, pmc_llama
from report.readback import mismatches

ROOT = Path(__file__).parents[2]
REGIMES = {"zero_shot", "full", "peft", "few_shot", "instruct"}
STAGES_BEFORE_PRETRAINING = {"minimed", "corpus", "general", "contamination", "tokens", "base"}


def run(workplace: Path, *options: str) -> dict[str, str]:
    """Run the recipe; returns the last line that it prints of each stage."""
    done = pmc_llama(workplace, "run", "recipes/minimed.yaml", *options)
    assert done.returncode == 0, done.stderr
    stages = [re.fullmatch(r"([a-z]+): (.*)", line) for line in done.stdout.splitlines()]
    return {match[1]: match[2] for match in stages if match}


def test_every_part_of_the_run_directory_is_there(finished: Path) -> None:
    for name in ("recipe.yaml", "environment.json", "corpus/corpus.json", "general/corpus.json", "logs/history.jsonl"):
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
    assert set(cells["regime"]) == REGIMES and len(cells) == 10
    assert set(cells["len"]) == {len(questions)}
    in_domain = set(predictions.filter(pl.col("protocol") == "in_domain")["task"])
    assert in_domain == {"direct_fact"}


def test_results_compare_base_and_adapted(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    assert {row["regime"] for row in results["comparisons"]} == REGIMES
    for row in results["comparisons"]:
        assert 0 <= row["mcnemar_p"] <= row["holm_p"] <= 1


def test_every_number_of_a_real_report_is_recomputed_from_the_run(finished: Path) -> None:
    assert mismatches(finished) == []


def test_every_tuning_run_is_in_the_report(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert all(f'id="figure-loss-tune-{regime}"' in page for regime in ("full", "peft", "instruct"))
    assert 'data-table="instructions"' in page


def test_a_dry_run_names_every_cell_and_what_it_costs(workplace: Path, finished: Path) -> None:
    done = pmc_llama(workplace, "run", "recipes/minimed.yaml", "--dry-run", "--set", "pretrain.lr=1e-4")
    assert done.returncode == 0, done.stderr
    lines = {line.split(":")[0].strip(): line for line in done.stdout.splitlines() if line.startswith("  ")}
    assert len(lines) == 10 + 2
    assert lines["full-base-seed-0"].endswith("tune: up to date; score: up to date")
    assert re.search(
        r"tune: would run: builds on pretrain, 2 steps, [\d,]+ tokens, about", lines["full-adapted-seed-0"]
    )
    assert "tune: 3 of 6 models, about" in lines["tune"] and "score: 5 of 10 models, about" in lines["score"]


def test_contamination_is_measured(finished: Path) -> None:
    texts = json.loads((finished / "contamination" / "contamination.json").read_text())["texts"]
    assert set(texts) == {"corpus", "general", "questions/direct_fact", "instructions/instruct"}
    for text in texts.values():
        assert set(text["tasks"]) == {"direct_fact", "case", "abstract"} and text["documents"] > 0
        assert all(task["questions"] > 0 for task in text["tasks"].values())


@pytest.fixture
def copied(workplace: Path, finished: Path, tmp_path: Path) -> Path:
    """A copy of the workplace with its run, to be changed; what was made there is up to date here too."""
    return Path(shutil.copytree(workplace, tmp_path / "copied", symlinks=True))


def test_second_run_does_nothing_and_a_changed_setting_only_what_depends_on_it(copied: Path) -> None:
    done = run(copied)
    del done["report"]  # the last line names the page
    assert set(done.values()) == {"up to date"}
    changed = ("--set", "pretrain.lr=1e-4")
    states = run(copied, "--dry-run", *changed)
    assert {stage for stage, state in states.items() if state == "up to date"} == STAGES_BEFORE_PRETRAINING
    refused = pmc_llama(copied, "run", "recipes/minimed.yaml", *changed)
    assert refused.returncode == 2 and "pretrain: trained in about" in refused.stderr and "--retrain" in refused.stderr
    redone = run(copied, *changed, "--retrain")
    assert {redone[stage] for stage in STAGES_BEFORE_PRETRAINING} == {"up to date"}
    assert "3 models tuned, 3 were up to date" in redone["finetune"]
    assert "5 models asked" in redone["evaluate"] and "5 were up to date" in redone["evaluate"]


def trained(run_dir: Path) -> dict[str, int]:
    """When each file of weights and each token was written."""
    files = [*run_dir.rglob("*.safetensors"), *run_dir.glob("tokens/*/*.bin"), *run_dir.glob("*/parts/*.parquet")]
    return {str(file): file.stat().st_mtime_ns for file in files}


def test_a_new_test_set_is_measured_and_asked_and_nothing_else_is_made(copied: Path) -> None:
    finished = copied / "runs" / "minimed"
    before = trained(finished)
    lines = (finished / "data/qa/medmcqa/train.json").read_text().splitlines()
    (copied / "second.json").write_text("\n".join(lines[-10:]) + "\n")
    new = f"{{format: medmcqa, test: {copied / 'second.json'}, prompt: plain, answers: texts, limit: 10}}"
    states = run(copied, "--set", f"tasks.second_day={new}")
    assert {states[stage] for stage in ("corpus", "general", "tokens", "base", "pretrain", "finetune")} == {
        "up to date"
    }
    assert "10 models asked 100 questions" in states["evaluate"]
    assert trained(finished) == before
    assert "second_day" in (finished / "results.json").read_text()
    limited = run(copied, "--set", f"tasks.second_day={new}", "--set", "tasks.direct_fact.limit=5", "--dry-run")
    assert limited["pretrain"] == limited["corpus"] == limited["finetune"] == "up to date"


def test_touched_inputs_are_read_and_found_the_same(workplace: Path, finished: Path) -> None:
    for file in (finished / "data").rglob("*"):
        file.touch()
    done = run(workplace)
    del done["report"]
    assert set(done.values()) == {"up to date"}


def test_killed_run_ends_as_if_it_had_not_been_killed(finished: Path, tmp_path: Path) -> None:
    place = new_workplace(tmp_path / "place")
    command = [sys.executable, "-m", "pmc_llama.cli", "run", "recipes/minimed.yaml"]
    process = subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metrics = place / "runs" / "minimed" / "train" / "pretrain" / "metrics.jsonl"
    deadline_s = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline_s and not metrics.exists():
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    run(place)
    expected, found = (pl.read_parquet(path / "predictions.parquet") for path in (finished, place / "runs" / "minimed"))
    assert found.equals(expected)


def test_mistakes_are_one_sentence_and_status_2(workplace: Path) -> None:
    done = pmc_llama(workplace, "run", "recipes/minimed.yaml", "--set", "pretrain.lrr=1")
    assert done.returncode == 2
    assert "did you mean 'lr'" in done.stderr and "Traceback" not in done.stderr


def tutorial_commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "tutorial.md").read_text(), re.DOTALL)
    return [line for block in blocks for line in block.strip().splitlines()]


def test_tutorial_works_to_the_letter(workplace: Path) -> None:
    (workplace / "path" / "to" / "data").mkdir(parents=True)
    commands = tutorial_commands()
    assert len(commands) >= 8
    for command in commands:
        done = pmc_llama(workplace, *command.split()[1:])
        if "path/to/data" in command:
            assert done.returncode == 2 and "matches no file" in done.stderr
        else:
            assert done.returncode == 0, f"{command}: {done.stderr}"


@pytest.mark.parametrize("verb", ["tokenize", "pretrain", "finetune", "evaluate", "report"])
def test_each_stage_is_a_verb(workplace: Path, verb: str) -> None:
    done = pmc_llama(workplace, verb, "recipes/minimed.yaml")
    assert done.returncode == 0, done.stderr
    assert "up to date" in done.stdout


def test_a_run_may_lie_in_a_folder_whose_name_is_a_pattern(workplace: Path, finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run [1]*"
    shutil.copytree(finished, run, symlinks=True)
    (run / "report.html").unlink()
    done = pmc_llama(workplace, "run", "recipes/minimed.yaml", "--set", f"run_dir={run}", "--force", "report")
    assert done.returncode == 0, done.stderr
    assert (run / "report.html").stat().st_size > 10_000


def test_whoever_may_read_a_new_file_may_read_the_whole_run(finished: Path, tmp_path: Path) -> None:
    """A run in a group's folder is of no use to the group if its models are their owner's alone."""
    (tmp_path / "new").touch()
    files = [path for path in finished.rglob("*") if path.is_file()]
    may_read = (tmp_path / "new").stat().st_mode & 0o444
    assert [str(path) for path in files if path.stat().st_mode & 0o444 != may_read] == []
