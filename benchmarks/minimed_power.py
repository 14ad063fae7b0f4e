"""How often the demo finds what is there, and nothing where nothing is: MiniMed over many seeds, true and null worlds.

Each run is the recipe of the demo with half of the drugs and the full regime on direct questions alone. An interrupted
check continues where it was.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
ALPHA = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time, each on one core")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "minimed_power")
    options = parser.parse_args()
    worlds = [(seed, facts) for seed in range(options.seeds) for facts in (True, False)]
    with ThreadPoolExecutor(options.jobs) as pool:
        rows = list(pool.map(lambda world: run_world(options.runs, *world), worlds))
    print(summary(rows))
    out = ROOT / "benchmarks" / "results" / "minimed_power.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"alpha": ALPHA, "rows": rows}, indent=2) + "\n")


def run_world(runs: Path, seed: int, facts: bool) -> dict[str, Any]:
    """Run the small recipe in one world; its comparison of base and adapted on direct questions."""
    run_dir = runs / f"{'true' if facts else 'null'}-{seed}"
    run_dir.mkdir(parents=True, exist_ok=True)
    recipe = run_dir / "power.yaml"
    recipe.write_text(yaml.safe_dump(small_recipe(run_dir, seed, facts)))
    with (run_dir / "power.log").open("a") as log:
        command = [sys.executable, "-m", "pmc_llama.cli", "run", str(recipe)]
        subprocess.run(command, check=True, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"})
    results = json.loads((run_dir / "results.json").read_text())
    (comparison,) = results["comparisons"]
    correct = {row["model"]: row["correct"] for row in results["rows"]}
    row = {"seed": seed, "facts": facts, "n": comparison["n"], **correct, "mcnemar_p": comparison["mcnemar_p"]}
    print(json.dumps(row), flush=True)
    return row


def small_recipe(run_dir: Path, seed: int, facts: bool) -> dict[str, Any]:
    """The demo's recipe with 24 drugs and one regime."""
    recipe: dict[str, Any] = yaml.safe_load((ROOT / "recipes" / "minimed.yaml").read_text())
    recipe |= {"name": "minimed-power", "run_dir": str(run_dir), "seed": seed, "seeds": [0], "workers": 1}
    recipe["minimed"] |= {"drugs": 24, "facts": facts}
    recipe["tasks"] = {"direct_fact": recipe["tasks"]["direct_fact"]}
    recipe["regimes"] = {"full": recipe["regimes"]["full"] | {"tasks": ["direct_fact"], "epochs": 6}}
    return recipe


def summary(rows: list[dict[str, Any]]) -> str:
    """How many worlds of each kind came out as they should, and the accuracies."""
    lines = []
    for facts, expected in [(True, "gain found"), (False, "no difference shown")]:
        of_kind = [row for row in rows if row["facts"] is facts]
        gains = [row["mcnemar_p"] < ALPHA and row["adapted"] > row["base"] for row in of_kind]
        as_expected = sum(
            gain if facts else row["mcnemar_p"] >= ALPHA for gain, row in zip(gains, of_kind, strict=True)
        )
        means = {name: sum(row[name] / row["n"] for row in of_kind) / len(of_kind) for name in ("base", "adapted")}
        world = "true world" if facts else "null world"
        lines.append(
            f"{world}: {expected} in {as_expected} of {len(of_kind)} seeds; "
            f"mean accuracy of base {means['base']:.1%}, of adapted {means['adapted']:.1%}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
