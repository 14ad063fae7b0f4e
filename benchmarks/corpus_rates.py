"""Papers a processor second of each kind of corpus, on the real sample: what docs/corpus.md reckons all of PMC from.

    python benchmarks/corpus_rates.py [--runs 3]

Each build is a process of its own with one worker; the best of the runs counts, as neighbours on the machine only slow
it down. Needs the real records and articles (PMC_LLAMA_SHARED_DATA, default ../shared/data). Written:
benchmarks/results/corpus_rates.json.
"""

import argparse
import multiprocessing
import os
import resource
import tempfile
from pathlib import Path
from typing import Any

from pmc_llama.corpus.build import build_corpus
from pmc_llama.environment import describe_environment
from pmc_llama.files import write_json
from pmc_llama.recipe.corpus import CorpusSection

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("PMC_LLAMA_SHARED_DATA", ROOT.parent / "shared" / "data"))
S2ORC = {"name": "s2orc", "paths": ["s2orc_v1/s2orc_*"]}
JATS = {"name": "pmc", "paths": ["pmc_oa/*.tar.gz"]}
BUILDS: dict[str, dict[str, Any]] = {
    "S2ORC, profile raw": {"sources": [S2ORC], "clean": {"profile": "raw"}},
    "S2ORC, profile clean": {"sources": [S2ORC]},
    "S2ORC, profile clean, near-duplicates": {"sources": [S2ORC], "dedup": {"near": {}}},
    "JATS, profile clean": {"sources": [JATS]},
}


def build(section: dict[str, Any]) -> dict[str, float]:
    """Papers read per processor second, Parquet bytes per paper kept, and the most memory in MiB."""
    with tempfile.TemporaryDirectory() as name:
        before = _cpu_seconds()
        chosen = CorpusSection.model_validate({"select": {"pmcid": "any"}, **section})
        summary = build_corpus(chosen, DATA, Path(name), workers=1)
        seconds = _cpu_seconds() - before
        size_bytes = sum(path.stat().st_size for path in (Path(name) / "parts").iterdir())
    return {
        "papers_per_cpu_s": summary.kept / seconds,
        "parquet_bytes_a_paper": size_bytes / summary.kept,
        "chars_a_paper": summary.chars / summary.kept,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    rows = []
    for name, section in BUILDS.items():
        found = []
        for _ in range(options.runs):
            with context.Pool(1) as pool:
                found.append(pool.apply(build, (section,)))
        best = max(found, key=lambda one: one["papers_per_cpu_s"])
        rows.append({"name": name, **best, "runs": [one["papers_per_cpu_s"] for one in found]})
    print(f"{'':40}{'papers/CPU s':>14}{'KB a paper':>12}{'peak MiB':>10}")
    for row in rows:
        kilobytes = row["parquet_bytes_a_paper"] / 1000
        print(f"{row['name']:40}{row['papers_per_cpu_s']:14.0f}{kilobytes:12.1f}{row['peak_mib']:10.0f}")
    environment = describe_environment()
    report = {"hardware": environment.hardware, "versions": environment.packages, "rows": rows}
    write_json(ROOT / "benchmarks" / "results" / "corpus_rates.json", report)


if __name__ == "__main__":
    main()
