"""What an update learns and forgets: MiniMed with the papers about half of the drugs coming later.

The recipe of the demo, with one regime, runs on the first half of the papers. Then `pmc-llama update` takes the second
half, once with replay of earlier papers and once without. Each of the two revisions is compared with the first one on
the questions about the drugs of either half. An interrupted benchmark continues where it was.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from pmc_llama.stats.paired import mcnemar_exact, paired_bootstrap

ROOT = Path(__file__).parents[1]
REPLAYS = {"with replay": 0.25, "without replay": 0.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="one world each")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "minimed_update")
    options = parser.parse_args()
    rows = [row for seed in options.seeds for row in run_world((options.runs / f"seed-{seed}").resolve(), seed)]
    out = ROOT / "benchmarks" / "results" / "minimed_update.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"replay": REPLAYS, "rows": rows}, indent=2) + "\n")
    print(table(rows))


def run_world(folder: Path, seed: int) -> list[dict[str, Any]]:
    """The first revision and both updates of it in one world; a row for each update and half of the drugs."""
    folder.mkdir(parents=True, exist_ok=True)
    first = folder / "first"
    (folder / "first.yaml").write_text(yaml.safe_dump(small_recipe(first, seed)))
    run(folder, "run", folder / "first.yaml")
    later = first / "data" / "later"
    new = ["--source", later / "s2orc" / "*.jsonl.gz", "--papers", later / "papers" / "*.jsonl.gz"]
    rows = []
    for name, replay in REPLAYS.items():
        out = folder / name.replace(" ", "-")
        run(folder, "update", first, *new, "-o", out, "--replay", replay)
        rows += [{"seed": seed, "update": name, **row} for row in by_half(first, out)]
    return rows


def small_recipe(run_dir: Path, seed: int) -> dict[str, Any]:
    """The demo's recipe with one regime and one task, and its last checkpoint kept for the updates."""
    recipe: dict[str, Any] = yaml.safe_load((ROOT / "recipes" / "minimed.yaml").read_text())
    recipe |= {"name": "minimed-update", "run_dir": str(run_dir), "seed": seed, "seeds": [0], "workers": 1}
    recipe["minimed"] |= {"later": True}
    recipe["pretrain"] |= {"save_every": 1000, "mixture": None}  # papers alone: --replay is what is compared
    recipe["tasks"] = {"direct_fact": recipe["tasks"]["direct_fact"]}
    recipe["regimes"] = {"full": recipe["regimes"]["full"] | {"tasks": ["direct_fact"]}}
    return recipe


def run(folder: Path, *arguments: object) -> None:
    """Run the command line; a run or an update that is finished is left as it is."""
    with (folder / "update.log").open("a") as log:
        command = [sys.executable, "-m", "pmc_llama.cli", *map(str, arguments)]
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        subprocess.run(command, check=True, stdout=log, stderr=log, env=environment)


def by_half(first: Path, revision: Path) -> list[dict[str, Any]]:
    """Both models on the questions about the drugs of each half; in a revision, "base" is the one before it."""
    later = json.loads((first / "data" / "world.json").read_text())["later_drugs"]
    asked = pl.read_parquet(revision / "questions.parquet").select(
        "question_id", later=pl.col("prompt").str.contains_any(later)
    )
    answers = pl.read_parquet(revision / "predictions.parquet").join(asked, on="question_id")
    rows = []
    for half, of_half in answers.group_by("later", maintain_order=True):
        right = of_half.with_columns(right=pl.col("chosen") == pl.col("gold")).sort("question_id")
        before, after = (right.filter(pl.col("model") == name)["right"] for name in ("base", "adapted"))
        b, c = int((before & ~after).sum()), int((~before & after).sum())
        low, high = paired_bootstrap(before.to_numpy(), after.to_numpy())
        counts = {"n": len(before), "before": int(before.sum()), "after": int(after.sum()), "b": b, "c": c}
        tests = {"ci95": [round(low, 4), round(high, 4)], "mcnemar_p": mcnemar_exact(b, c)}
        rows.append({"drugs": "later" if half[0] else "first", **counts, **tests})
    return sorted(rows, key=lambda row: str(row["drugs"]))


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a table for people."""
    lines = [
        f"{'world':>5}  {'update':14} {'drugs':6} {'before':>7} {'after':>7} {'difference, 95 % interval':>26} {'p':>8}"
    ]
    for row in rows:
        before, after = row["before"] / row["n"], row["after"] / row["n"]
        low, high = (100 * bound for bound in row["ci95"])
        change = f"{100 * (after - before):+.1f} [{low:+.1f}, {high:+.1f}]"
        lines.append(
            f"{row['seed']:>5}  {row['update']:14} {row['drugs']:6} {before:>7.1%} {after:>7.1%} {change:>26} "
            f"{row['mcnemar_p']:>8.1g}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
