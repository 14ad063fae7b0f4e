"""A field of models in one run: our own two, foreign folders, two servers, a file of answers; killed and resumed.

    make bench-field            # makes vLLM's environment, then runs
    python benchmarks/field.py [--limit 40]

A small MiniMed run first makes models and answers. Then one recipe asks, on the same questions: its base and adapted
model; SmolLM2-135M and the first run's base as foreign folders, each with a tokenizer of its own; SmolLM2-135M again
behind vLLM's OpenAI server, and the first run's adapted model behind `pmc-llama serve`; the first run's answers as a
file. The run is killed (SIGKILL) while it asks, and given again: what was answered must stay as it is. Then a model is
added, and only it may be asked. Checked: every model answered every question, a comparison for every pair, a forest
plot each, every model in both selections of the question browser.
Written: benchmarks/results/field.json.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from kills import recipe as small_recipe
from oracles_models import prepare
from pmc_llama.environment import describe_environment
from pmc_llama.files import write_json
from pmc_llama.records.results import read_results
from servers import server

ROOT = Path(__file__).parents[1]
PLACE = ROOT / "build" / "field"
VLLM = ROOT / ".venvs" / "vllm" / "bin" / "python"
PORTS = {"vllm": 8061, "ours": 8062}
FURTHER = ("smollm2", "earlier-base", "behind-vllm", "behind-ours", "published")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=24, help="questions of each task")
    options = parser.parse_args()
    smollm2 = prepare(ROOT / "build" / "oracles").base
    PLACE.mkdir(parents=True, exist_ok=True)
    first = write(PLACE / "first", options.limit, {})
    run(first)
    models = further(smollm2)
    path = write(PLACE / "field", options.limit, models)
    started = time.monotonic()
    with (
        server(vllm_command(smollm2), PLACE / "vllm.log", port=PORTS["vllm"], threads="1"),
        server(our_command(), PLACE / "ours.log", port=PORTS["ours"], threads="1"),
    ):
        killed_with = kill_while_asking(path)
        before = answered()
        run(path)
        kept = {file: time_ns for file, time_ns in answered().items() if file in before}
        assert kept == before, "answers that were there were asked for again"
        finished = answered()
        run(write(PLACE / "field", options.limit, models | {"added": {"path": str(smollm2), "shots": 1}}))
    asked_again = [file for file, time_ns in finished.items() if answered().get(file) != time_ns]
    assert not asked_again, f"adding a model asked others again: {asked_again}"
    rows = accuracies()
    check_page([*FURTHER, "added"])
    environment = describe_environment()
    report = {
        "hardware": environment.hardware,
        "versions": environment.packages,
        "seconds": time.monotonic() - started,
        "killed_with": killed_with,
        "rows": rows,
    }
    write_json(ROOT / "benchmarks" / "results" / "field.json", report)
    for row in rows:
        print(f"{row['model']:14} {row['regime']:10} {row['task']:12} {row['correct']:4} of {row['n']}")
    print(f"killed with {killed_with} sets of answers written, which stayed; {report['seconds']:.0f} s")


def further(smollm2: Path) -> dict[str, Any]:
    """The models of the recipe's section `models`."""
    made = PLACE / "first" / "run"
    return {
        "smollm2": {"path": str(smollm2)},
        "earlier-base": {"path": str(made / "models" / "base")},
        "behind-vllm": {"endpoint": f"http://127.0.0.1:{PORTS['vllm']}/v1", "tokenizer": str(smollm2)},
        "behind-ours": {"endpoint": f"http://127.0.0.1:{PORTS['ours']}/v1", "method": "generation"},
        "published": {"predictions": str(made / "predictions.parquet"), "model": "zero_shot/adapted/seed-0"},
    }


def write(folder: Path, limit: int, models: dict[str, Any]) -> Path:
    """A recipe in `folder`, of a run directory `run` there."""
    folder.mkdir(exist_ok=True)
    value = small_recipe(folder / "run", workers=1)
    value["regimes"] = {name: value["regimes"][name] for name in ("zero_shot", "peft")}
    for task in value["tasks"].values():
        task["limit"] = limit
    if models:
        value["models"] = models
        value["comparisons"] = [
            ["base", "adapted"],
            *([name, "adapted"] for name in models),
            ["smollm2", "behind-vllm"],
        ]
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(value, sort_keys=False))
    return path


def run(path: Path) -> None:
    """Run a recipe to its end."""
    subprocess.run(command(path), check=True)


def command(path: Path) -> list[str]:
    return [sys.executable, "-m", "pmc_llama.cli", "run", str(path)]


def vllm_command(model: Path) -> list[str]:
    """vLLM's server on the processor, in bf16."""
    served = ["-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--served-model-name", "smollm2"]
    return [str(VLLM), *served, "--port", str(PORTS["vllm"]), "--dtype", "bfloat16", "--max-model-len", "2048"]


def our_command() -> list[str]:
    adapted = PLACE / "first" / "run" / "models" / "adapted"
    return [sys.executable, "-m", "pmc_llama.cli", "serve", str(adapted), "--port", str(PORTS["ours"])]


def answered() -> dict[str, int]:
    """When each finished set of answers was written."""
    files = (PLACE / "field" / "run" / "predictions").glob("*/*/predictions.parquet")
    return {str(file.relative_to(PLACE)): file.stat().st_mtime_ns for file in files}


def kill_while_asking(path: Path) -> int:
    """Kill the run when some models have answered and some not; returns how many sets of answers there were."""
    process = subprocess.Popen(command(path), start_new_session=True)
    while len(answered()) < 8 and process.poll() is None:
        time.sleep(0.05)
    assert process.poll() is None, "the run ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return len(answered())


def accuracies() -> list[dict[str, Any]]:
    """Right answers by model, regime and task; every model answered every question of each task."""
    answers = pl.read_parquet(PLACE / "field" / "run" / "predictions.parquet")
    table = answers.group_by("model", "regime", "task", maintain_order=True).agg(
        n=pl.len(), correct=(pl.col("chosen") == pl.col("gold")).sum(), truncated=pl.col("truncated").sum()
    )
    numbers = {row["task"]: row["n"] for row in table.iter_rows(named=True)}
    assert all(row["n"] == numbers[row["task"]] for row in table.iter_rows(named=True))
    asked = set(table.filter(regime="zero_shot")["model"])
    assert asked == {"base", "adapted", "added", *FURTHER}, asked
    return table.to_dicts()


def check_page(names: Sequence[str]) -> None:
    """The page compares every pair, and lets any two models be looked at side by side."""
    made = PLACE / "field" / "run"
    compared = read_results(made / "results.json").compared
    assert len(compared) == len(names) + 2, compared
    page = (made / "report.html").read_text()
    for name in ["base", "adapted", *names]:
        assert len(re.findall(rf"<option[^>]*>{re.escape(name)}\b", page)) >= 2 or f'"{name}"' in page, name


if __name__ == "__main__":
    main()
