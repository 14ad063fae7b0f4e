"""Ids and greedy tokens of llama.cpp, on a GGUF made of an exported folder. Run by the peer's Python; see oracles.py.

python benchmarks/oracles_llama_cpp.py JOB.json
"""

import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from llama_cpp import GGML_TYPE_F32, Llama

from gguf_writer import write


def main(job: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.gguf"
        write(Path(job["folder"]), file, pre="smollm", add_bos=False, kind="F32")
        cache = {"type_k": GGML_TYPE_F32, "type_v": GGML_TYPE_F32}
        model = Llama(str(file), n_ctx=1024, n_threads=job["threads"], verbose=False, **cache)
        ids = [model.tokenize(text.encode(), add_bos=True, special=True) for text in job["texts"]]
        written = [greedy(model, prompt, job["tokens"]) for prompt in job["prompts"]]
    Path(job["out"]).write_text(json.dumps({"ids": ids, "written": written}))


def greedy(model: Llama, prompt: list[int], tokens: int) -> list[int]:
    model.reset()
    drawn = itertools.islice(model.generate(prompt, temp=0.0, repeat_penalty=1.0), tokens)
    return list(itertools.takewhile(lambda one: one != model.token_eos(), drawn))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
