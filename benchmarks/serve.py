"""The server under load: long and short requests at once, hang-ups, malformed requests, slow clients; and its speed.

    make bench-serve            # makes the peers' environments, then runs
    python benchmarks/serve.py [--requests 500]

On SmolLM2-135M. Of the requests, of 10 to 2,000 tokens in and 2 to 500 out, 20 % hang up and 5 % are malformed, beside
30 clients that send a line per second. Checked: every well-formed request of a client that stays is answered, or
refused with a 400, 503 or 504 within the server's own limit; every malformed one gets a 4xx; the 95th percentile of
short requests beside the long ones is at most three times that of the same ones alone; the server's memory stays
within what it says of itself (what it has when it is ready, the tokens' share, and 1 GiB to compute in).

Then as many tokens per second as each server gives for one and the same load (prompts of 128 tokens, 64 out, 16 at
once): ours, vLLM's, and llama.cpp's, one after another in the same run, each on all threads of
`OMP_NUM_THREADS`. Written: benchmarks/results/serve.json and the table in docs/performance.md.
"""

import argparse
import asyncio
import json
import os
import random
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from oracles_models import prepare
from pmc_llama.environment import describe_environment
from pmc_llama.files import write_json
from servers import READY_S, server

ROOT = Path(__file__).parents[1]
PLACE = ROOT / "build" / "serve"
VENVS = Path(os.environ.get("PMC_LLAMA_VENVS", ROOT / ".venvs"))
PORT = 8091
TIMEOUT_S, MEMORY_GIB = 120, 1.0
COMPUTE_BYTES = 2**30
THREADS = os.environ.get("OMP_NUM_THREADS", str(len(psutil.Process().cpu_affinity())))
MALFORMED = (
    *(b"", b"[]", b'{"prompt": ', b'{"prompt": "\xff"}', b'{"prompt": "a", "max_tokens": -1}'),
    *(b'{"prompt": "a", "temperature": 9}', b'{"prompt": [999999999]}', b"[" * 20_000),
)
START, END = "<!-- serve -->\n", "<!-- /serve -->\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--model", type=Path, help="folder of SmolLM2 (None: it is prepared)")
    options = parser.parse_args()
    model = options.model or prepare(ROOT / "build" / "oracles").base
    PLACE.mkdir(parents=True, exist_ok=True)
    with server(ours(model), PLACE / "ours.log", port=PORT, threads=THREADS) as process:
        found = asyncio.run(under_load(options.requests, process))
        print(json.dumps(found, indent=2), flush=True)
        speeds = {"ours": asyncio.run(tokens_per_second(options.requests))}
    for name, command in {"vllm": vllm(model), "llama.cpp": llama_cpp(model)}.items():
        with server(command, PLACE / f"{name}.log", port=PORT, threads=THREADS):
            speeds[name] = asyncio.run(tokens_per_second(options.requests))
    environment = describe_environment()
    rows = [speed_row(peer, speeds) for peer in ("vllm", "llama.cpp")]
    report = {"hardware": environment.hardware, "versions": environment.packages, "load": found, "rows": rows}
    write_json(ROOT / "benchmarks" / "results" / "serve.json", report)
    into_documents(found, rows)
    print(json.dumps({"load": found, "rows": rows}, indent=2))
    check(found)


def ours(model: Path) -> list[str]:
    command = [sys.executable, "-m", "pmc_llama.cli", "serve", str(model), "--port", str(PORT)]
    return [*command, "--memory", str(MEMORY_GIB)]


def vllm(model: Path) -> list[str]:
    command = [str(VENVS / "vllm/bin/python"), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    return [*command, "--port", str(PORT), "--dtype", "float32", "--max-model-len", "4096", "--max-num-seqs", "16"]


def llama_cpp(model: Path) -> list[str]:
    """Its server answers one request at a time; the weights in fp32, as ours and vLLM's are."""
    python, file = str(VENVS / "llama_cpp/bin/python"), PLACE / "model.gguf"
    write = f"write(Path({str(model)!r}), Path({str(file)!r}), pre='smollm', add_bos=False, kind='F32')"
    script = f"from pathlib import Path; from gguf_writer import write; {write}"
    subprocess.run([python, "-c", script], check=True, cwd=Path(__file__).parent)
    command = [python, "-m", "llama_cpp.server", "--model", str(file), "--port", str(PORT), "--n_ctx", "4096"]
    return [*command, "--n_threads", THREADS, "--n_threads_batch", THREADS]


def kinds_of(count: int) -> list[dict[str, Any]]:
    """The requests of the load, the same in every run; half of them are short ones."""
    chance = random.Random(0)
    asked = []
    for i in range(count):
        short = i % 2 == 0
        tokens = chance.randrange(10, 60) if short else round(10 * 200 ** chance.random())
        out = chance.randrange(2, 20) if short else round(2 * 250 ** chance.random())
        kind = "malformed" if i % 20 == 7 else "hang-up" if i % 5 == 3 else "short" if short else "long"
        ids = [chance.randrange(100, 40_000) for _ in range(tokens)]
        asked.append({"kind": kind, "body": {"prompt": ids, "max_tokens": out, "stream": i % 3 == 0}})
    return asked


async def under_load(count: int, process: "subprocess.Popen[bytes]") -> dict[str, Any]:
    """What became of the requests, how long short ones took, and the most memory."""
    asked = kinds_of(count)
    shorts = [one["body"] for one in asked if one["kind"] == "short"]
    held_bytes = psutil.Process(process.pid).memory_info().rss
    await send({"prompt": [500] * 20, "max_tokens": 4})  # the first one is slower than all others
    alone = [await send(body) for body in shorts[:: max(1, len(shorts) // 40)]]
    most_bytes = [held_bytes]
    watch = asyncio.create_task(watch_memory(process.pid, most_bytes))
    slow = [asyncio.create_task(send_slowly()) for _ in range(30)]
    started_s = time.monotonic()
    chance = random.Random(1)
    told = await asyncio.gather(*(arrive(one, chance.random() * count / 4) for one in asked))
    seconds = time.monotonic() - started_s
    for task in (watch, *slow):
        task.cancel()
    statuses = Counter(f"{one['kind']} {status}" for one, (status, _) in zip(asked, told, strict=True))
    taken_s = [s for one, (status, s) in zip(asked, told, strict=True) if one["kind"] == "short" and status == 200]
    return {
        "requests": count,
        "seconds": round(seconds, 1),
        "outcomes": dict(sorted(statuses.items())),
        "slowest_s": round(max(s for _, s in told), 1),
        "short_alone_p95_s": round(p95([s for _, s in alone]), 3),
        "short_beside_long_p95_s": round(p95(taken_s), 3),
        "ready_bytes": held_bytes,
        "most_bytes": max(most_bytes),
        "bound_bytes": held_bytes + int(MEMORY_GIB * 2**30) + COMPUTE_BYTES,
        "alive": (await send({"prompt": [500], "max_tokens": 1}))[0] == 200,
    }


async def arrive(one: dict[str, Any], after_s: float) -> tuple[int, float]:
    await asyncio.sleep(after_s)
    if one["kind"] == "malformed":
        return await post(MALFORMED[len(one["body"]["prompt"]) % len(MALFORMED)])
    return await send(one["body"], hang_up_s=0.5 if one["kind"] == "hang-up" else None)


async def send(body: dict[str, Any], hang_up_s: float | None = None) -> tuple[int, float]:
    return await post(json.dumps(body | {"model": None, "temperature": 0}).encode(), hang_up_s)


async def post(body: bytes, hang_up_s: float | None = None) -> tuple[int, float]:
    """(status, seconds to the end of the answer); 0 for a client that hung up, -1 for an answer that was cut."""
    started_s = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    writer.write(head.encode() + b"Content-Type: application/json\r\nConnection: close\r\n\r\n" + body)
    try:
        await writer.drain()
        if hang_up_s is not None:
            await asyncio.sleep(hang_up_s)
            writer.transport.abort()
            return 0, 0.0
        answer = await reader.read(-1)
    except ConnectionError:
        answer = b""
    writer.close()
    status = re.match(rb"HTTP/1.1 (\d+)", answer)
    whole = b"[DONE]" in answer or b"text/event-stream" not in answer
    return int(status[1]) if status and whole else -1, time.monotonic() - started_s


async def send_slowly() -> None:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", PORT)
        writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n")
        for number in range(600):
            writer.write(f"X-{number}: a\r\n".encode())
            await writer.drain()
            await asyncio.sleep(1)
    except ConnectionError:
        pass  # the server ends such connections


async def watch_memory(pid: int, most_bytes: list[int]) -> None:
    while True:
        most_bytes.append(psutil.Process(pid).memory_info().rss)
        await asyncio.sleep(0.2)


async def tokens_per_second(count: int) -> float:
    """Tokens written in a second, over a load that is the same for every server."""
    chance, places = random.Random(2), asyncio.Semaphore(16)
    bodies = [
        {"prompt": [chance.randrange(100, 40_000) for _ in range(128)], "max_tokens": 64, "temperature": 0}
        for _ in range(max(8, count // 10))
    ]
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/v1/models") as answer:
        model = json.loads(answer.read())["data"][0]["id"]
    await written_tokens(bodies[0] | {"model": model}, places)  # warms up
    started_s = time.monotonic()
    written = await asyncio.gather(*(written_tokens(body | {"model": model}, places) for body in bodies))
    return sum(written) / (time.monotonic() - started_s)


async def written_tokens(body: dict[str, Any], places: asyncio.Semaphore) -> int:
    def ask() -> int:
        asked = urllib.request.Request(
            f"http://127.0.0.1:{PORT}/v1/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(asked, timeout=READY_S) as answer:
                return int(json.loads(answer.read())["usage"]["completion_tokens"])
        except urllib.error.HTTPError:  # one that was not ready in the server's time gives no tokens, but costs them
            return 0

    async with places:
        return await asyncio.to_thread(ask)


def p95(seconds: list[float]) -> float:
    return sorted(seconds)[min(len(seconds) - 1, int(0.95 * len(seconds)))]


def speed_row(peer: str, speeds: dict[str, float]) -> dict[str, Any]:
    return {
        "name": "16 requests at once",
        "unit": "tokens/s",
        "ours": round(speeds["ours"], 1),
        "peer": round(speeds[peer], 1),
        "peer_name": peer,
        "ratio": round(speeds["ours"] / speeds[peer], 2),
        "runs": 1,
    }


def into_documents(found: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Put the figures between the marks in docs/performance.md."""
    outcomes = ", ".join(f"{count} {name}" for name, count in found["outcomes"].items())
    lines = [
        f"{found['requests']} requests in {found['seconds']} s: {outcomes} (0: hung up). Short requests: p95 "
        f"{found['short_alone_p95_s']} s alone, {found['short_beside_long_p95_s']} s beside long ones. Memory: at most "
        f"{found['most_bytes'] / 2**30:.2f} GiB of the {found['bound_bytes'] / 2**30:.2f} allowed.\n",
        "| tokens/s, 16 at once | ours | peer | ratio |\n|---|---:|---:|---:|",
        *(f"| {row['peer_name']} | {row['ours']} | {row['peer']} | {row['ratio']} |" for row in rows),
    ]
    page = ROOT / "docs" / "performance.md"
    before, _, rest = page.read_text().partition(START)
    page.write_text(before + START + "\n".join(lines) + "\n" + END + rest.partition(END)[2])


def check(found: dict[str, Any]) -> None:
    """Raise AssertionError for what was promised and did not come."""
    allowed = {"short": (200, 400, 503, 504), "long": (200, 400, 503, 504), "hang-up": (0,)}
    for outcome in found["outcomes"]:
        kind, status = outcome.rsplit(" ", 1)
        good = 400 <= int(status) < 500 if kind == "malformed" else int(status) in allowed[kind]
        assert good, f"{outcome} is no answer that was promised"
    assert found["slowest_s"] <= TIMEOUT_S + 5, "an answer came later than the server's own limit"
    assert found["alive"], "the server does not answer any more"
    assert found["most_bytes"] <= found["bound_bytes"], "more memory than the bound"
    assert found["short_beside_long_p95_s"] <= 3 * found["short_alone_p95_s"], "short requests wait for long ones"


if __name__ == "__main__":
    main()
