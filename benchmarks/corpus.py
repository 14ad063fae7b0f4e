"""Selecting and building the corpus: ours, datatrove, gzip + json, and bare decompression, on the same shards.

    python benchmarks/corpus.py [--gigabytes 2.1] [--runs 3]

Shards are made of real records, repeated with new ids until they hold that much JSON; 6 % have a PMC id, as in S2ORC.
`select` ends with the papers in memory, `build` with cleaned text in Parquet files. Speeds are megabytes of JSON a
second of processor time of one process, so that other work on the machine changes them little. The row on two
processes compares wall time, over the shards read twice: starting the processes takes half a second, which real work
does not notice. Medians of interleaved runs. datatrove runs in `.venvs/datatrove`, with what its own requirements
install; the rows `datatrove-isal` lend it the decompressor that ours uses.
"""

import argparse
import gzip
import json
import os
import random
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from isal import igzip

from pmc_llama.environment import describe_environment
from pmc_llama.files import write_json

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("PMC_LLAMA_SHARED_DATA", ROOT.parent / "shared" / "data"))
PEER_PYTHON = ROOT / ".venvs" / "datatrove" / "bin" / "python"
SHARDS = 4
PMC_SHARE = 0.06


def make_shards(folder: Path, gigabytes: float) -> int:
    """Write the shards unless they are there; returns their size as JSON, in bytes."""
    done = folder / "size.json"
    if done.exists() and (size := json.loads(done.read_text()))["gigabytes"] == gigabytes:
        return int(size["bytes"])
    folder.mkdir(parents=True, exist_ok=True)
    paths = sorted((DATA / "s2orc_v1").glob("s2orc_*.gz"))
    rows = [json.loads(line) for path in paths for line in gzip.decompress(path.read_bytes()).splitlines()]
    chance, total_bytes, corpusid = random.Random(1), 0, 0
    for shard in range(SHARDS):
        shard_bytes = 0
        with igzip.open(folder / f"s2orc_{shard:04d}.jsonl.gz", "wb", compresslevel=2) as file:
            while shard_bytes < gigabytes * 1e9 / SHARDS:
                row, corpusid = chance.choice(rows), corpusid + 1
                row["corpusid"] = corpusid
                row["externalids"]["pubmedcentral"] = str(corpusid) if chance.random() < PMC_SHARE else None
                row["externalids"]["doi"] = f"10.1/{corpusid}"
                line = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
                file.write(line)
                shard_bytes += len(line)
        total_bytes += shard_bytes
    write_json(done, {"gigabytes": gigabytes, "bytes": total_bytes})
    return total_bytes


def run(python: Path | str, task: str, shards: Path, workers: int = 1) -> dict[str, Any]:
    """One task in a process of its own: {"cpu_s", "wall_s", "rows", "peak_bytes"}."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "ARROW_NUM_THREADS": "1"}
    command = [str(python), str(ROOT / "benchmarks" / "corpus_tasks.py"), task, str(shards), str(workers)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"{task} failed:\n{result.stderr[-3000:]}")
    return dict(json.loads(result.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2.1)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    shards = ROOT / "build" / "benchmarks" / "corpus"
    size_mb = make_shards(shards, options.gigabytes) / 1e6
    plan = {
        "ours-select": (sys.executable, "ours-select", 1),
        "isal-bare": (sys.executable, "isal-bare", 1),
        "stdlib-select": (sys.executable, "stdlib-select", 1),
        "ours-build": (sys.executable, "ours-build", 1),
        "ours-twice": (sys.executable, "ours-twice", 1),
        "ours-twice-2": (sys.executable, "ours-twice", 2),
    }
    if PEER_PYTHON.exists():
        tasks = [f"datatrove-{task}{isal}" for task in ("select", "build") for isal in ("", "-isal")]
        plan |= {task: (PEER_PYTHON, task, 1) for task in tasks}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in plan}
    for _ in range(options.runs):
        for name, (python, task, workers) in plan.items():
            found[name].append(run(python, task, shards, workers))
            print(name, found[name][-1], flush=True)
    papers = {name: runs[0]["rows"] for name, runs in found.items() if name != "isal-bare" and "twice" not in name}
    assert len(set(papers.values())) == 1, f"not the same papers: {papers}"
    report(options.runs, size_mb, found)


def report(runs: int, size_mb: float, found: dict[str, list[dict[str, Any]]]) -> None:
    """Print the table and write results/corpus.json."""

    def speed(name: str, clock: str = "cpu_s") -> float:
        return size_mb / statistics.median(result[clock] for result in found[name])

    peers = ("datatrove-select", "datatrove-select-isal", "stdlib-select", "isal-bare")
    pairs = [("select", "ours-select", peer) for peer in peers]
    pairs += [("build", "ours-build", peer) for peer in ("datatrove-build", "datatrove-build-isal")]
    rows = [
        {"name": name, "unit": "MB of JSON per processor second", "ours": speed(ours), "peer": speed(peer)}
        | {
            "peer_name": peer.replace("-select", "").replace("-build", ""),
            "ratio": speed(ours) / speed(peer),
            "runs": runs,
        }
        for name, ours, peer in pairs
        if peer in found
    ]
    two, one = 2 * speed("ours-twice-2", "wall_s"), 2 * speed("ours-twice", "wall_s")
    rows.append({"name": "build, 2 processes", "unit": "MB of JSON per second", "ours": two, "peer": one}
                | {"peer_name": "ours, 1 process", "ratio": two / one, "runs": runs})  # fmt: skip
    peak_bytes = max(result["peak_bytes"] for name in found if name.startswith("ours") for result in found[name])
    versions = {name: results[0]["version"] for name, results in found.items() if "version" in results[0]}
    environment = describe_environment()
    write_json(
        ROOT / "benchmarks" / "results" / "corpus.json",
        {
            "hardware": environment.hardware,
            "versions": {"python": environment.python} | environment.packages | versions,
            "rows": rows,
            "json_mb": size_mb,
            "papers_kept": found["ours-build"][0]["rows"],
            "peak_bytes_a_worker": peak_bytes,
        },
    )
    print(f"\n{'':22}{'ours':>10}{'peer':>10}{'ratio':>8}   peer ({size_mb:,.0f} MB of JSON)")
    for row in rows:
        print(f"{row['name']:22}{row['ours']:10.0f}{row['peer']:10.0f}{row['ratio']:8.2f}   {row['peer_name']}")
    print(f"peak memory of a worker: {peak_bytes / 2**20:,.0f} MiB")


if __name__ == "__main__":
    main()
