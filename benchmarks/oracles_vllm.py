"""Greedy answers of vLLM: through our writer, or through vLLM's own server. Run by the peer's Python; see oracles.py.

python benchmarks/oracles_vllm.py JOB.json
"""

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

PORT = 8731
START_S = 600


def main(job: dict[str, Any]) -> None:
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
    texts = from_server(job) if job.get("server") else from_writer(job)
    Path(job["out"]).write_text(json.dumps(texts))


def from_writer(job: dict[str, Any]) -> list[str]:
    from pmc_llama.qa.writers import VllmWriter
    from pmc_llama.recipe.qa import GenerationSection

    adapter = Path(job["adapter"]) if job.get("adapter") else None
    writer = VllmWriter(Path(job["folder"]), adapter=adapter, precision="fp32", max_length=1024)
    how = GenerationSection(engine="vllm", max_new_tokens=job["tokens"])
    written = dict(writer.write(job["prompts"], [0] * len(job["prompts"]), how))
    return [written[i][0] for i in range(len(job["prompts"]))]


def from_server(job: dict[str, Any]) -> list[str]:
    # not its program `vllm`, which looks for a package of that name: this build's is vllm-cpu
    command = [
        sys.executable,
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        job["folder"],
        "--port",
        str(PORT),
    ]
    command += ["--dtype", "float32", "--max-model-len", "1024", "--served-model-name", "exported"]
    server = subprocess.Popen(command)
    try:
        wait_for(server)
        return [ask(prompt, job["tokens"]) for prompt in job["prompts"]]
    finally:
        server.terminate()
        server.wait(60)


def wait_for(server: "subprocess.Popen[bytes]") -> None:
    for _ in range(START_S):
        if server.poll() is not None:
            sys.exit("the server ended")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=5):
                return
        except OSError:
            time.sleep(1)
    sys.exit("the server did not start")


def ask(prompt: list[int], tokens: int) -> str:
    body = {"model": "exported", "prompt": prompt, "max_tokens": tokens, "temperature": 0}
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/v1/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        return str(json.loads(answer.read())["choices"][0]["text"])


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
