"""The order of the batches at true scale: 4.9 million papers, 75 billion tokens, in a store of sparse token files.

    python benchmarks/order_scale.py [--documents 4900000] [--tokens 75e9]

The store has true offsets of drawn lengths and sparse token files, so all is as in a real run but the disk. Each order
is opened in a process of its own, on one core. Batches of 128 rows are read at random places, first from pages that
nobody has touched (`new`: the system makes each page), then the same ones again (`warm`); wall time and CPU time of
each. Prints a table and writes benchmarks/results/order_scale.json.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pmc_llama.environment import describe_environment
from pmc_llama.files import write_json
from pmc_llama.recipe.tokens import OrderSection
from pmc_llama.tokens.order import StoreBatches, batches, coverage_curve
from pmc_llama.tokens.shards import FORMAT
from pmc_llama.tokens.store import TokenStore

SHARD_TOKENS = 10**9
ORDERS = {
    "packed": (OrderSection(), 512),
    "packed, 2048 tokens per row": (OrderSection(), 2048),
    "packed by best fit": (OrderSection(packing="best_fit"), 512),
    "sweep": (OrderSection(kind="sweep"), 512),
    "windows": (OrderSection(kind="windows"), 512),
}
EPOCHS = 5
GLOBAL_BATCH, READS, BLOCKS = 128, 3000, 10


def make_store(folder: Path, documents: int, tokens: float) -> None:
    """Lengths are log-normal with the spread of full papers (sigma 0.6), scaled to the wanted total."""
    draw = np.random.default_rng(0)
    lengths = draw.lognormal(0, 0.6, documents)
    lengths = np.maximum(lengths * (tokens / lengths.sum()), 1).astype(np.int64)
    shards, first = [], 0
    ends = np.cumsum(lengths)
    while first < documents:
        before = int(ends[first - 1]) if first else 0
        last = min(int(np.searchsorted(ends, before + SHARD_TOKENS)) + 1, documents)
        size = int(ends[last - 1]) - before
        name = f"shard-{len(shards):05d}.bin"
        with (folder / name).open("wb") as file:
            file.truncate(2 * size)
        shards.append({"file": name, "documents": last - first, "tokens": size, "sha256": ""})
        first = last
    np.concatenate([[0], ends]).astype("<u8").tofile(folder / "offsets.bin")
    heldout = draw.random(documents) < 0.002
    ids = pa.array([f"pmc:{number}" for number in range(documents)])
    pq.write_table(pa.table({"paper_id": ids, "heldout": heldout}), folder / "documents.parquet", compression="zstd")
    info = {"format": FORMAT, "tokenizer_sha256": "", "corpora": [""], "vocab_size": 32_000, "dtype": "uint16"}
    write_json(folder / "store.json", info | {"documents": documents, "tokens": int(ends[-1]), "shards": shards})


def measure(folder: Path, name: str, results: Any) -> None:
    """Open the store and build the order, then read batches at random places; all in this process."""
    section, seq_len = ORDERS[name]
    one_core()
    forget_pages(folder)
    started = time.perf_counter()
    run = _open(folder, section, seq_len)
    run.rows(0)
    built_s = time.perf_counter() - started
    peak_mib = _memory_mib("VmHWM")
    steps = np.random.default_rng(1).integers(0, run.steps, READS).tolist()
    times = {f"{pages}_{name}": value for pages in ("new", "warm") for name, value in _time(run.rows, steps).items()}
    memory = _memory_mib("RssAnon")
    began = time.perf_counter()
    curve = coverage_curve(run, run.steps, points=EPOCHS)
    seen = [run.coverage(-(-epochs * run.rows_per_epoch // GLOBAL_BATCH)) for epochs in (1, EPOCHS)]
    results.put(
        {"order": name, "tokens_a_batch": GLOBAL_BATCH * seq_len, "steps": run.steps}
        | {"build_s": built_s, "build_peak_mib": peak_mib, "memory_mib": memory}
        | times
        | {"coverage_1_epoch": seen[0], "coverage_5_epochs": seen[1], "coverage_s": time.perf_counter() - began}
        | {"curve": curve}
    )


def _time(work: Callable[[int], Any], steps: list[int]) -> dict[str, float]:
    """Median and 99th percentile of the milliseconds of each call, by the clock and of the CPU.

    `p99` is over all calls; `p99_typical` the median of it over BLOCKS stretches, which a neighbour's burst of work on
    the same machine does not move.
    """
    wall_ms, cpu_ms = [], []
    for step in steps:
        wall, cpu = time.perf_counter(), time.process_time()
        work(step)
        cpu_ms.append((time.process_time() - cpu) * 1e3)
        wall_ms.append((time.perf_counter() - wall) * 1e3)
    found = {}
    for name, times_ms in (("wall", wall_ms), ("cpu", cpu_ms)):
        blocks = [np.percentile(block, 99) for block in np.array_split(times_ms, BLOCKS)]
        found[f"{name}_p50_ms"] = float(np.percentile(times_ms, 50))
        found[f"{name}_p99_ms"] = float(np.percentile(times_ms, 99))
        found[f"{name}_p99_typical_ms"] = float(np.median(blocks))
    return found


def counting(results: Any) -> None:
    """The same of a loop that takes about as long as a batch and reads nothing: what the machine itself scatters."""
    one_core()
    results.put(_time(lambda _: sum(range(40_000)), list(range(READS))))


def forget_pages(folder: Path) -> None:
    """Let the system drop the token files' pages, so that each order begins with none."""
    for path in folder.glob("shard-*.bin"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def one_core() -> None:
    """Keep this process on one core, so that the figures are a core's."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def new_windows(folder: Path, results: Any) -> None:
    """How many papers of at least 5 x 512 tokens have shown 5 x 512 distinct ones after 5 epochs of `sweep`."""
    store = TokenStore.open(folder)
    run = _open(folder, OrderSection(kind="sweep"), 512)
    starts = np.zeros((EPOCHS, len(store)), np.int64)
    for epoch in range(EPOCHS):
        for first in range(0, run.rows_per_epoch, 1 << 18):
            rows = np.arange(first, min(first + (1 << 18), run.rows_per_epoch))
            pieces = run._layout.pieces(epoch, rows)
            starts[epoch, pieces.document] = pieces.start
    lengths = store.lengths
    long = store.documents("train")
    long = long[lengths[long] >= EPOCHS * 512]
    apart = (np.diff(np.sort(starts[:, long], axis=0), axis=0) >= 512).all(axis=0)
    inside = (starts[:, long] + 512 <= lengths[long]).all(axis=0)
    results.put({"papers_long_enough": len(long), "with_2560_distinct_tokens": int((apart & inside).sum())})


def _open(folder: Path, section: OrderSection, seq_len: int) -> StoreBatches:
    store = TokenStore.open(folder)
    shape: dict[str, Any] = {
        "seq_len": seq_len,
        "global_batch": GLOBAL_BATCH,
        "epochs": EPOCHS,
        "seed": 0,
        "bos_id": 1,
        "eos_id": 2,
    }
    return batches(store, section, split="train", **shape)


def _memory_mib(what: str) -> float:
    """`VmHWM`: the most so far, with pages of mapped files, which the system takes back when it needs them; `RssAnon`:
    what is this process's own now.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1]) / 1024


def _in_own_process(function: Any, *arguments: Any) -> Any:
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    process = context.Process(target=function, args=(*arguments, results))
    process.start()
    value = results.get()
    process.join()
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=4_900_000)
    parser.add_argument("--tokens", type=float, default=75e9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_store(folder, options.documents, options.tokens)
        rows = [_in_own_process(measure, folder, order) for order in ORDERS]
        sweep = _in_own_process(new_windows, folder)
    noise = _in_own_process(counting)
    columns = [column for column in rows[0] if column not in ("order", "tokens_a_batch", "steps", "curve")]
    for column in columns:
        print(f"{column:20}" + "".join(f"{row[column]:>14.4f}" for row in rows))
    print(f"{'order':20}" + "".join(f"{row['order'][:13]:>14}" for row in rows))
    print(json.dumps(sweep))
    print("a loop that reads nothing:", json.dumps(noise))
    environment = describe_environment()
    report = {"hardware": environment.hardware, "versions": environment.packages, "rows": rows, "sweep": sweep}
    report["counting"] = noise
    report["size"] = {"documents": options.documents, "tokens": options.tokens}
    write_json(Path(__file__).parent / "results" / "order_scale.json", report)


if __name__ == "__main__":
    main()
