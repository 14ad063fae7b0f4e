"""LLaMA-7B at its true size on one machine without a GPU: loaded, tuned, merged, exported, loaded again, asked.

A random model in LLaMA-7B's shape (13.5 GB in bf16, in files as transformers divides them) is tuned with LoRA for two
steps of 128 tokens, the adapter is merged shard by shard, and what was written is loaded and scores 20 questions. Each
part runs in a process of its own, whose peak memory is compared with the weights': it must stay below 1.25 times them.

    python benchmarks/true_size.py --folder /scratch/7b     # 45 GB of disk, 24 GB of memory, half an hour on 2 cores
    python benchmarks/true_size.py --folder /tmp/small --size small
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig

from pmc_llama.environment import describe_environment
from pmc_llama.files import read_json, write_json
from pmc_llama.model.load import ModelOrigin, load_for_inference
from pmc_llama.model.merge import write_weights
from pmc_llama.model.save import save_tensors
from pmc_llama.model.shapes import SHAPES
from pmc_llama.model.tensors import tensor_files
from pmc_llama.qa.question import Question
from pmc_llama.qa.score import score
from pmc_llama.recipe.training import LoraSection, TrainSection
from pmc_llama.tokens.encode import hf_tokenizer
from pmc_llama.train.batches import IGNORE, Rows
from pmc_llama.train.loop import train

ROOT = Path(__file__).parents[1]
TOKENIZER = ROOT.parent / "shared/data/tokenizer/mistral-v1/tokenizer.model"
SHARD_BYTES = {"7b": 4 * 2**30, "small": 3 * 2**20}
SIZES: dict[str, dict[str, Any]] = {
    "7b": dict(SHAPES["huggyllama/llama-7b"]),
    "small": {"vocab_size": 32000, "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 3,
              "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 2048},
}  # fmt: skip
MOST = 1.25
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class TwoRows:
    """Two steps of one row of 128 tokens."""

    steps, fingerprint, sources = 2, "true size", ()

    def rows(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        """The row of a step."""
        ids = np.random.default_rng(step).integers(3, 32000, (1, 128))
        positions = np.arange(128)[None]
        return Rows(ids, positions, np.where(positions == 0, IGNORE, ids))

    def coverage(self, step: int) -> float:
        """Share of the rows seen."""
        return step / self.steps

    def coverage_by_source(self, step: int) -> dict[str, float]:
        """There is one source."""
        return {}


def make(folder: Path, size: str) -> None:
    """Write the random model, a tensor at a time."""
    config = LlamaConfig(**SIZES[size], dtype=torch.bfloat16)
    with torch.device("meta"):
        from transformers import LlamaForCausalLM

        shapes = {name: tuple(value.shape) for name, value in LlamaForCausalLM(config).named_parameters()}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    parts: list[list[str]] = [[]]
    filled = 0
    for name, shape in shapes.items():
        if filled + 2 * int(np.prod(shape)) > SHARD_BYTES[size]:
            parts, filled = [*parts, []], 0
        parts[-1].append(name)
        filled += 2 * int(np.prod(shape))
    rng, index = np.random.default_rng(0), {}
    for number, names in enumerate(parts, 1):
        file = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        save_tensors({name: _drawn(rng, shapes[name]) for name in names}, folder / file)
        index |= dict.fromkeys(names, file)
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": index})
    config.save_pretrained(folder)
    hf_tokenizer(TOKENIZER).save_pretrained(folder)


def _drawn(rng: np.random.Generator, shape: tuple[int, ...]) -> torch.Tensor:
    if len(shape) == 1:
        return torch.ones(shape, dtype=torch.bfloat16)
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)).mul_(0.02).bfloat16()


def tune(folder: Path) -> dict[str, Any]:
    """Two steps of LoRA on all matrices of the blocks."""
    options = TrainSection(
        seq_len=128, global_batch=1, micro_batch=1, lr=1e-3, precision="bf16", log_every=1, warmup=0.0
    )
    summary = train(
        model=ModelOrigin(path=folder / "base"), batches=TwoRows(), options=options, out=folder / "training",
        export_to=folder / "adapter", tokenizer=hf_tokenizer(TOKENIZER), seed=0,
        lora=LoraSection(r=8, dropout=0.0, targets=TARGETS),
    )  # fmt: skip
    return {"loss": summary.loss, "steps": summary.steps}


def merge(folder: Path) -> dict[str, Any]:
    """The adapter into the base, shard by shard."""
    out = folder / "merged"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    write_weights(folder / "base", out, dtype=torch.bfloat16, adapter=folder / "adapter")
    for file in [*(folder / "base").glob("*.json"), *(folder / "base").glob("tokenizer*")]:
        if file.name != "model.safetensors.index.json":
            shutil.copy(file, out)
    return {"files": len(list(out.glob("*.safetensors")))}


def ask(folder: Path) -> dict[str, Any]:
    """20 questions, by likelihood; and that the merged matrices are others than the base's."""
    model = load_for_inference(folder / "merged", dtype=torch.bfloat16)
    name = "model.layers.1.self_attn.q_proj.weight"
    was = tensor_files(folder / "base")[name].read(name)
    moved = float((model.get_parameter(name).detach() - was).abs().max())
    questions = [
        Question(
            "t", str(i), f"Which drug lowers the blood pressure of patient {i}?", ("one", "two", "three", "four"), 0
        )
        for i in range(20)
    ]
    found = score(model, hf_tokenizer(TOKENIZER), questions)
    finite = all(np.isfinite(value) for one in found for value in one.option_logprobs)
    return {"questions": len(found), "finite": finite, "moved": moved}


PARTS = {"tune": tune, "merge": merge, "ask": ask}


def peak_bytes() -> int:
    """The most memory that this process has held, with mapped files."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--size", choices=list(SIZES), default="7b")
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        began = time.monotonic()
        found = PARTS[options.part](options.folder)
        seconds = round(time.monotonic() - began, 1)
        print(json.dumps({"part": options.part, "peak_bytes": peak_bytes(), "seconds": seconds, **found}))
        return
    if not (options.folder / "base/tokenizer.json").is_file():  # written last
        make(options.folder / "base", options.size)
    weights = sum(file.stat().st_size for file in (options.folder / "base").glob("*.safetensors"))
    shutil.rmtree(options.folder / "training", ignore_errors=True)
    rows = []
    for part in PARTS:
        command = [sys.executable, __file__, "--folder", str(options.folder), "--size", options.size, "--part", part]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ)
        row = json.loads(done.stdout.splitlines()[-1])
        rows.append(row | {"share_of_weights": round(row["peak_bytes"] / weights, 3)})
        print(f"{part:6} peak {row['peak_bytes'] / 2**30:6.2f} GiB = {rows[-1]['share_of_weights']:.3f} x the weights"
              f" ({weights / 2**30:.2f} GiB), {row['seconds']:,.0f} s  {row}", flush=True)  # fmt: skip
    if options.size == "7b":
        environment = describe_environment()
        report = {"hardware": environment.hardware, "versions": environment.packages, "weights_bytes": weights}
        write_json(ROOT / "benchmarks/results/true_size.json", report | {"rows": rows})
        too_large = [row["part"] for row in rows if row["share_of_weights"] > MOST]
        sys.exit(f"more than {MOST} times the weights: {too_large}" if too_large else 0)
    assert read_json(options.folder / "merged/config.json")


if __name__ == "__main__":
    main()
