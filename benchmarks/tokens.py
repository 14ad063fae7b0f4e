"""Encoding beside sentencepiece, tokenizers and datatrove: tokens a second of one core, and how two processes scale.

    python benchmarks/tokens.py setup    # datatrove's own environment, .venvs/datatrove
    python benchmarks/tokens.py          # identity on all texts, then interleaved timings

Needs the real papers and the Mistral-v1 tokenizer (PMC_LLAMA_SHARED_DATA, default ../shared/data). Rates are tokens a
second of CPU time on one core, so that neighbours on the machine weigh less. Each timing is a process of its own:

- `encode`: 100 papers (abstracts, headings, paragraphs) after 500 others, as a worker meets them in the middle of a
  corpus; the memo has seen the 500 and not the 100. Which papers are the 100 changes with the run.
- `encode, empty memo`: all 600 from the start. `encode, whole records`: as `encode`, with bibliographies and tables.
- `two processes`: wall time of the whole stage with one worker and with two, on 6,000 papers; beside it a loop that
  counts, which is what two processes gain on this machine at best.
- `load`: tokens a second of batches read from the memory-mapped store, on one core; the peer is the training step of
  the demo on the same core: recipes/minimed.yaml runs until its base model has made some steps, and these are its
  batches.

Written: benchmarks/results/tokens.json.
"""

import argparse
import gzip
import json
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
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

ROOT = Path(__file__).parents[1]
PEER = ROOT / ".venvs" / "datatrove"
DATA = Path(os.environ.get("PMC_LLAMA_SHARED_DATA", ROOT.parent / "shared" / "data"))
MODEL = DATA / "tokenizer" / "mistral-v1" / "tokenizer.model"
PAPERS, UNSEEN = 600, 100
KINDS = ("abstract", "paragraph", "sectionheader")


def papers(whole: bool) -> Iterator[str]:
    """The text of each record: all of it, or its abstract, headings and paragraphs, one a line."""
    for path in sorted((DATA / "s2orc_v1").glob("s2orc_*.jsonl.gz")):
        with gzip.open(path) as lines:
            for line in lines:
                content = json.loads(line)["content"]
                if whole:
                    yield content["text"]
                    continue
                spans = {
                    (int(span["start"]), int(span["end"]))
                    for kind in KINDS
                    for span in json.loads(content["annotations"].get(kind) or "[]")
                }
                yield "\n".join(content["text"][start:end] for start, end in sorted(spans))


def encoder_of(tool: str) -> Callable[[list[str]], list[Any]]:
    """A tool's way from texts to ids."""
    if tool == "ours":
        return load_encoder(MODEL).encode_batch
    if tool == "sentencepiece":
        from sentencepiece import SentencePieceProcessor

        processor = SentencePieceProcessor(model_file=str(MODEL))
        return lambda texts: [processor.encode(text) for text in texts]
    tokenizer = hf_tokenizer(MODEL).backend_tokenizer
    return lambda texts: [
        encoding.ids
        for first in range(0, len(texts), 50)
        for encoding in tokenizer.encode_batch_fast(texts[first : first + 50], add_special_tokens=False)
    ]


def time_encoding(tool: str, texts: list[str], before: list[str]) -> dict[str, float]:
    """Encode `before`, then `texts`; tokens and CPU seconds of the second. Runs in its own process, on one core."""
    _one_core()
    encode = encoder_of(tool)
    encode(before)
    started = time.process_time()
    found = encode(texts)
    seconds = time.process_time() - started
    return {"tokens": sum(map(len, found)), "cpu_s": seconds}


def time_datatrove(texts: list[str], before: list[str]) -> dict[str, float]:
    """The same by datatrove's DocumentTokenizer, in its own environment; it writes what it encodes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = hf_tokenizer(MODEL)
        tokenizer.add_bos_token = False
        tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "texts.json").write_text(json.dumps({"before": before, "texts": texts}))
        script = ROOT / "benchmarks" / "tokens_peer.py"
        command = [str(PEER / "bin" / "python"), str(script), name]
        environment = os.environ | {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return dict(json.loads((folder / "result.json").read_text()))


def compare(name: str, texts: list[str], unseen: int, tools: list[str], runs: int) -> list[dict[str, Any]]:
    """Interleaved runs of all tools on the same papers; one row a peer."""
    rates: dict[str, list[float]] = {tool: [] for tool in ("ours", *tools)}
    for run in range(runs):
        order = texts[:]
        random.Random(run).shuffle(order)
        before, measured = order[: len(order) - unseen], order[len(order) - unseen :]
        counts = set()
        for tool, found in rates.items():
            first = before if tool == "ours" else before[:20]  # the others keep nothing from paper to paper
            timed = time_datatrove(measured, first) if tool == "datatrove" else _in_process(tool, measured, first)
            found.append(timed["tokens"] / timed["cpu_s"])
            counts.add(timed["tokens"])
            print(f"{name:24} run {run} {tool:14} {found[-1] / 1e6:6.2f} M tokens/s", flush=True)
        assert len(counts) == 1, f"the tools do not agree on the number of tokens: {counts}"
    ours = rates.pop("ours")
    return [_row(name, "tokens/s a core", ours, peer_rates, peer) for peer, peer_rates in rates.items()]


def scale(texts: list[str], runs: int) -> list[dict[str, Any]]:
    """The whole stage, Parquet to store, with one worker and with two, on 12,000 papers."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as name:
        corpus, many = Path(name) / "corpus", texts * 20
        (corpus / "parts").mkdir(parents=True)
        for part in range(16):
            ids = [f"s2:{number}" for number in range(part, len(many), 16)]
            table = pa.table({"paper_id": ids, "text": many[part::16]})
            pq.write_table(table, corpus / "parts" / f"part-{part:05d}.parquet", compression="zstd")
        for run in range(runs):
            for workers, found in seconds.items():
                out, started = Path(name) / f"store-{run}-{workers}", time.perf_counter()
                tokens = encode_corpus(TokensSection(), corpus, MODEL, out, workers=workers).tokens
                found.append(tokens / (time.perf_counter() - started))
    return [_row("two processes", "tokens/s", seconds[2], seconds[1], "one process")]


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
    """Tokens a second of the demo's steps, in groups of ten; the first ten warm up."""
    _one_core()
    settings = [f"run_dir={run_dir}", "workers=1", "base.train.max_steps=60", "base.train.log_every=10"]
    run_recipe(ROOT / "recipes" / "minimed.yaml", settings, until="base")
    lines = map(json.loads, (Path(run_dir) / "train" / "base" / "metrics.jsonl").read_text().splitlines())
    return [line["tokens_per_second"] for line in lines if "tokens_per_second" in line and line["step"] % 10 == 0][1:]


def time_loading(run_dir: str) -> list[float]:
    """Tokens a second over the first 2,000 batches of the same run, three times."""
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


def check_identity(texts: list[str]) -> dict[str, int]:
    """Every text of the data folder, and 20,000 strings made to break an encoder, against sentencepiece."""
    from sentencepiece import SentencePieceProcessor

    encoder, plain = load_encoder(MODEL), SentencePieceProcessor(model_file=str(MODEL))
    alphabet = [
        *" \n\t\r\u2581\u00a0\u2009\u3000\u200b\x00\x07\x1b\x7f\u0085\u2028abeinrst.,12αβ中文é😀🧬",
        "  ",
        "   ",
        " the",
    ]
    draw = random.Random(0)
    made_up = ["".join(draw.choices(alphabet, k=draw.randrange(40))) for _ in range(20_000)]
    found = {"texts": 0, "characters": 0, "tokens": 0, "mismatches": 0}
    for text in [*_all_texts(), *texts, *made_up]:
        ids = plain.encode(text)
        found["texts"] += 1
        found["characters"] += len(text)
        found["tokens"] += len(ids)
        found["mismatches"] += encoder.encode(text).tolist() != ids
    return found


def _all_texts() -> Iterator[str]:
    """Every file of the data folder that is text, packed or not, in pieces of at most a million characters."""
    import tarfile

    for path in sorted(path for path in DATA.rglob("*") if path.is_file()):
        if path.name.endswith(".tar.gz"):
            with tarfile.open(path) as archive:
                members = [archive.extractfile(member).read() for member in archive if member.isfile()]  # type: ignore[union-attr]
        elif path.suffix == ".gz":
            members = gzip.decompress(path.read_bytes()).split(b"\n")
        elif path.suffix != ".model":
            members = [path.read_bytes()]
        else:
            continue
        for member in members:
            text = member.decode(errors="replace")
            yield from (text[first : first + 10**6] for first in range(0, max(len(text), 1), 10**6))


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


def _in_process(tool: str, texts: list[str], before: list[str]) -> dict[str, float]:
    with _context().Pool(1) as pool:
        return dict(pool.apply(time_encoding, (tool, texts, before)))


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
    identity = check_identity(whole)
    print(f"identity with sentencepiece: {identity}", flush=True)
    rows = compare("encode", clean, UNSEEN, ["sentencepiece", "tokenizers", "datatrove"], options.runs)
    rows += compare("encode, empty memo", clean, PAPERS, ["sentencepiece", "tokenizers"], 1)
    rows += compare("encode, whole records", whole, UNSEEN, ["sentencepiece", "tokenizers"], 3)
    rows += scale(whole, 3)
    rows += scale_limit(3)
    rows += load()
    for row in rows:
        print(f"{row['name']:24} {row['ours']:14,.0f} {row['peer']:14,.0f} {row['peer_name']:26} {row['ratio']:6.2f} x")
    environment = describe_environment()
    versions = environment.packages | {"datatrove": "0.10.1"}
    report = {"hardware": environment.hardware, "versions": versions, "identity": identity, "rows": rows}
    write_json(ROOT / "benchmarks" / "results" / "tokens.json", report)


if __name__ == "__main__":
    main()
