"""Encoding beside sentencepiece, tokenizers and datatrove, and the stage around it: tokens per second of one core.

    python benchmarks/tokens.py setup    # datatrove's own environment, .venvs/datatrove
    python benchmarks/tokens.py          # identity on all texts, then interleaved timings

Needs the real papers and the Mistral-v1 tokenizer (PMC_LLAMA_SHARED_DATA, default ../shared/data), and for the rows
of byte-level vocabularies SmolLM2 as a Hugging Face folder (SMOLLM2, default build/smollm2). Rates are tokens per
second of CPU time on one core, so that neighbours on the machine weigh less. Each timing is a process of its own:

- `encode`: 100 papers (abstracts, headings, paragraphs) after 500 others, as a worker meets them in the middle of a
  corpus. Which papers are the 100 changes with the run. SmolLM2's vocabulary comes as it is, and with Llama 3's rule.
- `encode, from the start`: all 600, nothing before them. `encode, whole records`: with bibliographies and tables.
- `stage`: Parquet to store, hashes included, in one process; its peers are the same stage with the reference library,
  and reading the Parquet and writing as many bytes, which is the least that such a stage can be.
- `two processes`: wall time of the whole stage with one worker and with two; beside it a loop that counts, which is
  what two processes gain on this machine at best.
- `load`: tokens per second of batches read from the memory-mapped store, on one core; the peer is the training step of
  the demo on the same core: recipes/minimed.yaml runs until its base model has made some steps, and these are its
  batches.

Written: benchmarks/results/tokens.json.
"""

import argparse
import json
import multiprocessing
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pmc_llama.environment import describe_environment
from pmc_llama.files import write_json
from pmc_llama.pipeline.run import run_recipe
from pmc_llama.recipe import load_recipe
from pmc_llama.recipe.tokens import TokensSection
from pmc_llama.tokens.encode import encode_corpus, hf_tokenizer, load_encoder
from pmc_llama.tokens.order import batches
from pmc_llama.tokens.store import TokenStore
from tokens_identity import MISTRAL, ROOT, check_identity, papers, vocabularies

PEER = ROOT / ".venvs" / "datatrove"
UNSEEN = 100
PARTS = 8


def encoder_of(tool: str, path: Path) -> Callable[[list[str]], list[Any]]:
    """A tool's way from texts to ids."""
    if tool == "ours":
        return load_encoder(path).encode_batch
    if tool == "sentencepiece":
        from sentencepiece import SentencePieceProcessor

        processor = SentencePieceProcessor(model_file=str(path))
        return lambda texts: [processor.encode(text) for text in texts]
    tokenizer = hf_tokenizer(path).backend_tokenizer
    return lambda texts: [
        encoding.ids
        for first in range(0, len(texts), 50)
        for encoding in tokenizer.encode_batch_fast(texts[first : first + 50], add_special_tokens=False)
    ]


def time_encoding(tool: str, path: Path, texts: list[str], before: list[str]) -> dict[str, float]:
    """Encode `before`, then `texts`; tokens and CPU seconds of the second. Runs in its own process, on one core."""
    _one_core()
    encode = encoder_of(tool, path)
    encode(before)
    started = time.process_time()
    found = encode(texts)
    seconds = time.process_time() - started
    return {"tokens": sum(map(len, found)), "cpu_s": seconds}


def time_datatrove(path: Path, texts: list[str], before: list[str]) -> dict[str, float]:
    """The same by datatrove's DocumentTokenizer, in its own environment; it writes what it encodes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = hf_tokenizer(path)
        if path.is_file():
            tokenizer.add_bos_token = False
        tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "texts.json").write_text(json.dumps({"before": before, "texts": texts}))
        script = ROOT / "benchmarks" / "tokens_peer.py"
        command = [str(PEER / "bin" / "python"), str(script), name]
        environment = os.environ | {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return dict(json.loads((folder / "result.json").read_text()))


def compare(name: str, path: Path, texts: list[str], unseen: int, tools: list[str], runs: int) -> list[dict[str, Any]]:
    """Interleaved runs of all tools on the same papers; one row a peer."""
    rates: dict[str, list[float]] = {tool: [] for tool in ("ours", *tools)}
    for run in range(runs):
        order = texts[:]
        random.Random(run).shuffle(order)
        before, measured = order[: len(order) - unseen], order[len(order) - unseen :]
        counts = set()
        for tool, found in rates.items():
            first = before if tool == "ours" else before[:20]  # the others keep nothing from paper to paper
            if tool == "datatrove":
                timed = time_datatrove(path, measured, first)
            else:
                timed = _apply(time_encoding, tool, path, measured, first)
            found.append(timed["tokens"] / timed["cpu_s"])
            counts.add(timed["tokens"])
            print(f"{name:34} run {run} {tool:14} {found[-1] / 1e6:6.2f} M tokens/s", flush=True)
        assert len(counts) == 1, f"the tools do not agree on the number of tokens: {counts}"
    ours = rates.pop("ours")
    return [_row(name, "tokens/s a core", ours, peer_rates, peer) for peer, peer_rates in rates.items()]


def make_corpus(folder: Path, texts: list[str], times: int) -> Path:
    """The texts as a corpus of some parts, each text so many times."""
    many = texts * times
    (folder / "parts").mkdir(parents=True)
    for part in range(PARTS):
        ids = [f"s2:{number}" for number in range(part, len(many), PARTS)]
        table = pa.table({"paper_id": ids, "text": many[part::PARTS]})
        pq.write_table(table, folder / "parts" / f"part-{part:05d}.parquet", compression="zstd")
    return folder


def stage(name: str, path: Path, texts: list[str], runs: int) -> list[dict[str, Any]]:
    """The whole stage on one core beside itself with the reference library, and beside reading and writing alone."""
    seconds: dict[str, list[float]] = {"ours": [], "reference library": [], "reading and writing alone": []}
    memory = 0.0
    with tempfile.TemporaryDirectory() as folder:
        corpus = make_corpus(Path(folder) / "corpus", texts, 1)
        for run in range(runs):
            for kind, found in seconds.items():
                timed = _apply(time_stage, kind, path, corpus, Path(folder) / f"store-{run}-{kind[:4]}")
                found.append(timed["tokens"] / timed["cpu_s"])
                print(f"{name:34} run {run} {kind:26} {found[-1] / 1e6:6.2f} M tokens/s", flush=True)
                memory = max(memory, timed["peak_gb"] if kind == "ours" else 0)
    ours = seconds.pop("ours")
    return [_row(name, "tokens/s a core", ours, rates, peer) | {"peak_gb": memory} for peer, rates in seconds.items()]


def time_stage(kind: str, path: Path, corpus: Path, out: Path) -> dict[str, float]:
    """CPU seconds, tokens and peak memory of a stage, in its own process."""
    _one_core()
    if kind == "reference library":
        sys.modules["gigatoken"] = None  # type: ignore[assignment]
    warnings.simplefilter("ignore")
    started = time.process_time()
    if kind == "reading and writing alone":
        tokens = _read_and_write(corpus, next(corpus.parent.glob("store-*-ours")), out)
    else:
        tokens = encode_corpus(TokensSection(), corpus, path, out, workers=1).tokens
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
    return {"tokens": tokens, "cpu_s": seconds, "peak_gb": peak}


def _read_and_write(corpus: Path, store: Path, out: Path) -> int:
    """Read what the stage reads, in its batches, and write as many bytes as it wrote, from memory."""
    out.mkdir()
    for number, part in enumerate(sorted((corpus / "parts").glob("*.parquet"))):
        with pq.ParquetFile(part) as file:
            for batch in file.iter_batches(64, columns=["paper_id", "text"], use_threads=False):
                batch["text"].cast(pa.binary()).to_pylist()
        size, block = (store / f"shard-{number:05d}.bin").stat().st_size, bytes(1 << 20)
        with (out / f"{number}.bin").open("wb") as written:
            for _ in range(-(-size // len(block))):
                written.write(block)
    return TokenStore.open(store).n_tokens


def scale(texts: list[str], runs: int) -> list[dict[str, Any]]:
    """The whole stage, Parquet to store, with one worker and with two."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as name:
        corpus = make_corpus(Path(name) / "corpus", texts, 20)
        for run in range(runs):
            for workers, found in rates.items():
                out, started = Path(name) / f"store-{run}-{workers}", time.perf_counter()
                tokens = encode_corpus(TokensSection(), corpus, MISTRAL, out, workers=workers).tokens
                found.append(tokens / (time.perf_counter() - started))
    return [_row("two processes", "tokens/s", rates[2], rates[1], "one process")]


def scale_limit(runs: int) -> list[dict[str, Any]]:
    """The same of a loop that counts: no more can be had of two processes here."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(runs):
        for processes, found in rates.items():
            with _context().Pool(processes) as pool:
                pool.map(count_up, [1] * processes)  # started
                started = time.perf_counter()
                pool.map(count_up, [2 * 10**7] * processes, chunksize=1)
                found.append(processes * 2 * 10**7 / (time.perf_counter() - started))
    return [_row("two processes, counting", "loops/s", rates[2], rates[1], "one process")]


def count_up(times: int) -> None:
    for _ in range(times):
        pass


def load() -> list[dict[str, Any]]:
    """The demo's training step beside its loader: both on one core, in this order, in processes of their own."""
    with tempfile.TemporaryDirectory() as name:
        steps = _context().Pool(1).apply(time_training, (name,))
        rates = _context().Pool(1).apply(time_loading, (name,))
    return [_row("load", "tokens/s a core", rates, steps, "training step of the demo")]


def time_training(run_dir: str) -> list[float]:
    """Tokens per second of the demo's steps, in groups of ten; the first ten warm up."""
    _one_core()
    settings = [f"run_dir={run_dir}", "workers=1", "base.train.max_steps=60", "base.train.log_every=10"]
    run_recipe(ROOT / "recipes" / "minimed.yaml", settings, until="base")
    lines = map(json.loads, (Path(run_dir) / "train" / "base" / "metrics.jsonl").read_text().splitlines())
    return [line["tokens_per_second"] for line in lines if "tokens_per_second" in line and line["step"] % 10 == 0][1:]


def time_loading(run_dir: str) -> list[float]:
    """Tokens per second over the first 2,000 batches of the same run, three times."""
    _one_core()
    options = load_recipe(ROOT / "recipes" / "minimed.yaml").base.train
    assert options is not None
    shape: dict[str, Any] = {"seq_len": options.seq_len, "global_batch": options.global_batch, "epochs": options.epochs}
    store = TokenStore.open(Path(run_dir) / "tokens" / "general")
    run = batches(store, options.order, split="train", seed=0, bos_id=1, eos_id=2, **shape)
    rates = []
    for _ in range(3):
        started, tokens = time.perf_counter(), 0
        for step in range(min(run.steps, 2000)):
            tokens += run.rows(step).ids.size
        rates.append(tokens / (time.perf_counter() - started))
    return rates


def setup() -> None:
    """datatrove in an environment of its own."""
    if not (PEER / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEER)], check=True)
    command = [
        str(PEER / "bin" / "pip"),
        "install",
        "--quiet",
        "torch==2.13.0",
        "datatrove==0.10.1",
        "orjson",
        "tokenizers",
    ]
    subprocess.run(command, check=True)


def _row(name: str, unit: str, ours: list[float], peer: list[float], peer_name: str) -> dict[str, Any]:
    left, right = statistics.median(ours), statistics.median(peer)
    row: dict[str, Any] = {"name": name, "unit": unit, "ours": left, "peer": right, "peer_name": peer_name}
    return row | {"ratio": left / right, "runs": [ours, peer]}


def _context() -> Any:
    return multiprocessing.get_context("spawn")


def _apply(function: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    with _context().Pool(1) as pool:
        return dict(pool.apply(function, arguments))


def _one_core() -> None:
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="run", choices=["setup", "run"])
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    if options.what == "setup":
        setup()
        return
    clean, whole = list(papers(whole=False)), list(papers(whole=True))
    with tempfile.TemporaryDirectory() as name:
        known = vocabularies(Path(name))
        identity, rows = {}, []
        for vocabulary, path in known.items():
            identity[vocabulary] = check_identity(path)
            print(f"identity with the reference library, {vocabulary}: {identity[vocabulary]}", flush=True)
            tools = [*(["sentencepiece"] if path.is_file() else []), "tokenizers", "datatrove"]
            rows += compare(f"encode, {vocabulary}", path, clean, UNSEEN, tools, options.runs)
            rows += compare(f"encode, from the start, {vocabulary}", path, clean, len(clean), tools[:1], 1)
            rows += compare(f"encode, whole records, {vocabulary}", path, whole, UNSEEN, tools[:1], 3)
            rows += stage(f"stage, {vocabulary}", path, whole, min(options.runs, 3))
            _save(identity, rows)
    rows += scale(whole, 3)
    rows += scale_limit(3)
    rows += load()
    for row in rows:
        print(f"{row['name']:38} {row['ours']:14,.0f} {row['peer']:14,.0f} {row['peer_name']:26} {row['ratio']:6.2f} x")
    _save(identity, rows)


def _save(identity: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Write what is measured so far."""
    environment = describe_environment()
    versions = environment.packages | {"datatrove": "0.10.1"}
    report = {"hardware": environment.hardware, "versions": versions, "identity": identity, "rows": rows}
    write_json(ROOT / "benchmarks" / "results" / "tokens.json", report)


if __name__ == "__main__":
    main()
