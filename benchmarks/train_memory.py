"""Memory of two things that could take too much of it: reading a checkpoint into shards, and the logits of the loss.

    python benchmarks/train_memory.py [--size 1b|small] [--processes 2]

- A LLaMA of random bf16 weights is written as safetensors, and read by processes that share it (FSDP2 on the CPU, fp32
  master weights): the peak of each should be its shard and about one tensor more.
- Forward and backward pass of the loss of 8,192 tokens over 32,000 words, from hidden states of width 512 in bf16,
  beside torch's cross-entropy over all logits in fp32.

Counted is private memory (RssAnon in /proc): pages of a file, which the kernel may drop, are not. The last line is
JSON, and, for the full size, benchmarks/results/train_memory.json.
"""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from forked import fork, wait
from pmc_llama.environment import describe_environment
from pmc_llama.files import read_json, write_json
from pmc_llama.model.load import ModelOrigin, build_model, shape_on_meta
from pmc_llama.train.loss import chunked_cross_entropy
from pmc_llama.train.world import join_world

SIZES = {
    "1b": {
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "vocab_size": 32000,
    },
    "small": {
        "hidden_size": 512,
        "intermediate_size": 1376,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "vocab_size": 8000,
    },
}
FILES, TOKENS, VOCABULARY, WIDTH = 3, 8192, 32000, 512
ROOT = Path(__file__).parents[1]


def write_model(folder: Path, config: LlamaConfig) -> None:
    """Random weights in several files, as large models come."""
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in LlamaForCausalLM(config).named_parameters()}
    names = sorted(shapes)
    index = {}
    for number in range(FILES):
        file = f"model-{number + 1:05d}-of-{FILES:05d}.safetensors"
        tensors = {
            name: torch.empty(shapes[name], dtype=torch.bfloat16).normal_(0, 0.02) for name in names[number::FILES]
        }
        save_file(tensors, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(tensors, file)
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": index})
    config.save_pretrained(folder)


def private_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


class Peak:
    """The most private memory while it is entered, looked at every two milliseconds."""

    def __enter__(self) -> "Peak":
        self.bytes = private_bytes()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._ended.is_set():
            self.bytes = max(self.bytes, private_bytes())
            time.sleep(0.002)

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def load(folder: Path) -> dict[str, int]:
    """What it takes to build the model of `folder` in this process, of all that there are."""
    words = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>")
    with join_world() as world:
        shape_on_meta(LlamaConfig(num_hidden_layers=1), None)  # imports what the first call needs
        before = private_bytes()
        with Peak() as peak:
            net: Any = build_model(
                ModelOrigin(path=folder), tokenizer=tokenizer, mesh=world.mesh, device=world.device,
                dtype=torch.bfloat16, seed=0,
            )  # fmt: skip
        parameters = list(net.parameters())
        return {
            "model_bytes": sum(parameter.numel() * 4 for parameter in parameters),
            "shard_bytes": sum(parameter.to_local().nbytes for parameter in parameters),
            "largest_tensor_bytes": max(parameter.numel() * 4 for parameter in parameters),
            "peak_bytes": peak.bytes - before,
        }


def loss(ours: bool) -> dict[str, int]:
    """What the loss and its gradients take in this process, hidden states and projection not counted."""
    hidden = torch.randn(TOKENS, WIDTH).bfloat16().requires_grad_()
    weight = (torch.randn(VOCABULARY, WIDTH) * 0.02).bfloat16().requires_grad_()
    targets = torch.randint(0, VOCABULARY, (TOKENS,))
    before = private_bytes()
    with Peak() as peak:
        if ours:
            total = chunked_cross_entropy(hidden, weight, targets)
        else:
            total = F.cross_entropy((hidden @ weight.T).float(), targets, reduction="sum")
        total.backward()
    return {"logits_bytes": TOKENS * VOCABULARY * 4, "peak_bytes": peak.bytes - before}


def in_processes(count: int, work: Callable[[int], None]) -> None:
    """`work(rank)` in forked processes, whose memory begins as this one's. Raises SystemExit where one failed."""
    codes = wait(fork(count, work))
    if any(codes):
        raise SystemExit(f"processes ended with {codes}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="1b")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        in_processes(1, lambda _: write_model(folder, LlamaConfig(**SIZES[options.size])))
        in_processes(options.processes, lambda rank: write_json(folder / f"found-{rank}.json", load(folder)))
        in_processes(1, lambda _: write_json(folder / "loss.json", loss(ours=True)))
        in_processes(1, lambda _: write_json(folder / "plain.json", loss(ours=False)))
        rows = [
            {"name": f"loading, process {rank}", **read_json(folder / f"found-{rank}.json")}
            for rank in range(options.processes)
        ]
        rows += [{"name": f"{side}, 8,192 tokens", **read_json(folder / f"{side}.json")} for side in ("loss", "plain")]
    for row in rows:
        parts = [f"{key} {value / 2**20:,.0f} MiB" for key, value in row.items() if key != "name"]
        print(f"{row['name']:22} {', '.join(parts)}")
    if options.size != "small":
        environment = describe_environment()
        report = {"hardware": environment.hardware, "versions": environment.packages, "rows": rows}
        write_json(ROOT / "benchmarks/results/train_memory.json", report)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
