"""A whole run is killed again and again; what it makes in the end is what an undisturbed run makes, byte for byte.

    python benchmarks/kills.py --kills 40

- `1 worker`, `2 workers`: `pmc-llama run` of a small MiniMed recipe, its process or its whole group killed (SIGKILL) at
  random moments, and the same command given again.
- `torchrun x 2`: tuning (full and LoRA) by two processes, one or both killed.

Compared are papers, tokens, models, adapters' configurations, predictions and results; not times, logs and curves'
seconds. Any difference is an error. Writes benchmarks/results/kills.json.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from pmc_llama.environment import describe_environment
from pmc_llama.files import write_json

ROOT = Path(__file__).parents[1]
TUNING = {
    "seq_len": 128,
    "global_batch": 8,
    "micro_batch": 8,
    "max_steps": 12,
    "save_every": 4,
    "tasks": ["direct_fact"],
}
MADE = (
    *("data/**/*", "*/parts/*", "tokens/*/*", "models/*/*", "tune/*/*/*/model/*", "contamination/contamination.json"),
    *("predictions/*/*/predictions.parquet", "predictions/*/*/samples_*", "predictions.parquet", "questions.parquet"),
    *("results.json", "report/tables/*"),
)


def recipe(run_dir: Path, workers: int) -> dict[str, Any]:
    """The demo, small, with checkpoints on the way."""
    value: dict[str, Any] = yaml.safe_load((ROOT / "recipes" / "minimed.yaml").read_text())
    value |= {"run_dir": str(run_dir), "seeds": [0], "workers": workers}
    value["minimed"] |= {"drugs": 8, "papers_per_drug": 6, "general_papers": 60}
    for training in (value["base"]["train"], value["pretrain"]):
        training |= {"max_steps": 12, "save_every": 4}
    value["regimes"] = {
        "full": {"kind": "full", **TUNING},
        "peft": {"kind": "peft", **TUNING},
        "zero_shot": {"kind": "zero_shot"},
    }
    return value


def digest(run: Path) -> dict[str, str]:
    """Hashes of all that is made; where an adapter's base lies differs between run directories."""
    found = {}
    for file in sorted({file for pattern in MADE for file in run.glob(pattern) if file.is_file()}):
        content = file.read_bytes()
        if file.name == "adapter_config.json":
            content = content.replace(str(run).encode(), b"RUN")
        found[str(file.relative_to(run))] = hashlib.sha256(content).hexdigest()
    return found


def start(command: list[str], log: Path) -> "subprocess.Popen[bytes]":
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with log.open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment, start_new_session=True)


def kill(process: "subprocess.Popen[bytes]", rng: random.Random) -> None:
    """The process, one of those that it started, or all of them at once. Whoever is left must notice, and end."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    started = children.read_text().split() if children.exists() else []
    if started and rng.random() < 0.3:
        os.kill(int(rng.choice(started)), signal.SIGKILL)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            raise SystemExit("the death of one process was not noticed") from None
    elif rng.random() < 0.6:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(1.5)


def disturbed(name: str, command: list[str], folder: Path, kills: int, rng: random.Random, slowest_s: float) -> int:
    """Give the command, kill it, and give it again, until so many were killed; then let it end. Returns the kills."""
    killed, log = 0, folder / f"{name}.log"
    while True:
        process = start(command, log)
        try:
            if killed >= kills:
                process.wait(900)
            else:
                process.wait(rng.uniform(1.5, slowest_s))
            if process.returncode:
                raise SystemExit(f"{name}: status {process.returncode}\n{log.read_text()[-2000:]}")
            return killed
        except subprocess.TimeoutExpired:
            kill(process, rng)
            killed += 1


def compare(name: str, reference: dict[str, str], run: Path) -> None:
    found = digest(run)
    differing = sorted(key for key in reference.keys() | found.keys() if reference.get(key) != found.get(key))
    if differing:
        raise SystemExit(f"{name}: {len(differing)} files differ from the undisturbed run: {differing[:8]}")


def whole_runs(folder: Path, kills: int, workers: int, rng: random.Random, reference: dict[str, str]) -> dict[str, Any]:
    """Rounds of a whole run from nothing, each killed up to a dozen times, until so many kills were made."""
    done = rounds = 0
    while done < kills:
        run = folder / f"whole-{workers}-{rounds}"
        path = folder / f"{run.name}.yaml"
        path.write_text(yaml.safe_dump(recipe(run, workers)))
        command = [sys.executable, "-m", "pmc_llama.cli", "run", str(path)]
        done += disturbed(run.name, command, folder, min(12, kills - done), rng, 7.0)
        compare(run.name, reference, run)
        shutil.rmtree(run)
        rounds += 1
        print(f"{workers} worker(s): {done} kills in {rounds} rounds, all files equal", flush=True)
    return {"name": f"{workers} worker" + "s" * (workers > 1), "kills": done, "rounds": rounds, "files": len(reference)}


def together(folder: Path, kills: int, rng: random.Random) -> dict[str, Any]:
    """Tuning by two processes."""
    digests: list[dict[str, str]] = []
    done = 0
    while len(digests) < 2 or done < kills:
        name, wanted = f"two-{len(digests)}", kills - done if digests else 0
        run = folder / name
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(recipe(run, 1)))
        alone = [sys.executable, "-m", "pmc_llama.cli", "run", str(path), "--until", "pretrain"]
        disturbed(f"{name}-before", alone, folder, 0, rng, 0)
        two = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m"]
        command = [*two, "pmc_llama.cli", "run", str(path), "--until", "finetune"]
        done += disturbed(name, command, folder, wanted, rng, 11.0)
        digests.append(digest(run))
        if digests[0] != digests[-1]:
            raise SystemExit(f"{name}: the models differ from those of the undisturbed run")
        print(f"torchrun x 2: {done} kills in {len(digests) - 1} rounds, all files equal", flush=True)
    return {"name": "torchrun x 2", "kills": done, "rounds": len(digests) - 1, "files": len(digests[0])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = folder / "straight"
        (folder / "straight.yaml").write_text(yaml.safe_dump(recipe(run, 1)))
        straight = [sys.executable, "-m", "pmc_llama.cli", "run", str(folder / "straight.yaml")]
        disturbed("straight", straight, folder, 0, rng, 0)
        reference = digest(run)
        few = max(1, options.kills // 5)
        rows = [whole_runs(folder, (options.kills - few) // 2, workers, rng, reference) for workers in (1, 2)]
        rows.append(together(folder, few, rng))
    environment = describe_environment()
    report = {"hardware": environment.hardware, "versions": environment.packages, "rows": rows}
    write_json(ROOT / "benchmarks" / "results" / "kills.json", report)
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
