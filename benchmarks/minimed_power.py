"""How often the demo finds what is there, and nothing where nothing is: MiniMed in true and null worlds of many seeds.

One base for all, as in earnest: the demo's. A seed gives drugs, facts, papers, questions, the order of training and the
tuning; half of the demo's drugs, rows of 128 tokens, and the full regime on direct questions alone. The null world of a
seed has the same drugs and questions, and papers of the same style that state no fact. What counts is what the report
says: its verdict's headline, beside the p value that it stands on. An interrupted check continues.
"""

import argparse
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from lxml import html

from pmc_llama.pipeline.run import run_recipe

ROOT = Path(__file__).parents[1]
ALPHA = 0.05
EXPECTED = {True: "Gain", False: "No difference shown"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="seeds at a time, each on one core")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "minimed_power")
    options = parser.parse_args()
    seeds, runs = range(options.first, options.first + options.seeds), options.runs.resolve()
    run(base_recipe(runs / "base"), until="base")
    if options.jobs == 1:
        found = [run_seed(runs, seed) for seed in seeds]
    else:
        with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
            found = list(pool.map(partial(run_seed, runs), seeds))
    rows = [row for both in found for row in both]
    print(summary(rows))
    out = ROOT / "benchmarks" / "results" / "minimed_power.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"alpha": ALPHA, "rows": rows}, indent=2, ensure_ascii=False) + "\n")


def run_seed(runs: Path, seed: int) -> list[dict[str, Any]]:
    """Run the true and then the null world of a seed; what each one's report says."""
    torch.set_num_threads(1)
    rows = []
    for facts in (True, False):
        run_dir = runs / f"{'true' if facts else 'null'}-{seed}"
        run(world_recipe(run_dir, runs / "base", seed, facts))
        rows.append({"seed": seed, "facts": facts, **read_report(run_dir)})
        print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
    return rows


def run(recipe: dict[str, Any], until: str | None = None) -> None:
    """Bring a run directory up to date."""
    run_dir = Path(recipe["run_dir"])
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / "power.yaml"
    path.write_text(yaml.safe_dump(recipe))
    with (run_dir / "power.log").open("a") as log, redirect_stdout(log), redirect_stderr(log):
        run_recipe(path, until=until)


def base_recipe(run_dir: Path) -> dict[str, Any]:
    """The demo's recipe, in a run directory of its own."""
    recipe: dict[str, Any] = yaml.safe_load((ROOT / "recipes" / "minimed.yaml").read_text())
    return recipe | {"run_dir": str(run_dir), "workers": 1}


def world_recipe(run_dir: Path, base: Path, seed: int, facts: bool) -> dict[str, Any]:
    """The demo's recipe made small, from the finished base in the run directory `base` and its tokenizer."""
    recipe = base_recipe(run_dir) | {"name": "minimed-power", "seed": seed, "seeds": [0]}
    del recipe["general"]
    recipe["minimed"] |= {"drugs": 24, "general_papers": 100, "facts": facts}
    recipe["tokenizer"] = {"path": str(base / "data" / recipe["tokenizer"]["path"])}
    recipe["base"] = {"path": str(base / "models" / "base")}
    recipe["pretrain"] |= {"seq_len": 128, "epochs": 4, "mixture": None}
    recipe["tasks"] = {"direct_fact": recipe["tasks"]["direct_fact"]}
    recipe["regimes"] = {"full": recipe["regimes"]["full"] | {"tasks": ["direct_fact"], "epochs": 6}}
    return recipe


def read_report(run_dir: Path) -> dict[str, Any]:
    """The verdict as the page words it, and the counts and p value that it stands on."""
    verdict = html.parse(str(run_dir / "report.html")).xpath("//section[@id='verdict']")[0]
    results = json.loads((run_dir / "results.json").read_text())
    (comparison,) = results["comparisons"]
    return {
        "n": comparison["n"],
        **{row["model"]: row["correct"] for row in results["rows"]},
        "mcnemar_p": comparison["mcnemar_p"],
        "headline": verdict.findtext("p[@class='headline']"),
        "sentence": verdict.findtext("p[@class='sentence']"),
    }


def summary(rows: list[dict[str, Any]]) -> str:
    """How many worlds of each kind came out as they should, and the accuracies."""
    lines = []
    for facts, headline in EXPECTED.items():
        of_kind = [row for row in rows if row["facts"] is facts]
        right = [row["headline"] == headline and (row["mcnemar_p"] < ALPHA) is facts for row in of_kind]
        means = {name: sum(row[name] / row["n"] for row in of_kind) / len(of_kind) for name in ("base", "adapted")}
        world, sign = ("true world", "<") if facts else ("null world", ">=")
        lines.append(
            f"{world}: the report says {headline!r}, with p {sign} {ALPHA}, in {sum(right)} of {len(right)} seeds; "
            f"mean accuracy of base {means['base']:.1%}, of adapted {means['adapted']:.1%}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
