"""Every architecture that training takes, in miniature: loaded, trained for a step, exported, loaded back, scored.

`python matrix.py FOLDER NAME …` does the part about training in this process, one of two.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.distributed.tensor import DTensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from folders import byte_tokenizer
from pmc_llama.model.load import ModelOrigin, build_model, load_for_inference
from pmc_llama.model.parallel import reshard
from pmc_llama.model.save import export_hf
from pmc_llama.qa.encoding import encode_prompts
from pmc_llama.qa.prompts import render
from pmc_llama.qa.question import Question
from pmc_llama.recipe.training import LoraSection
from pmc_llama.tokens.encode import hf_tokenizer
from pmc_llama.train.agreement import agree
from pmc_llama.train.batches import IGNORE, Rows
from pmc_llama.train.isolation import prove_isolation
from pmc_llama.train.microbatch import micro_batches
from pmc_llama.train.optim import Guard, build_optimizer
from pmc_llama.train.step import attach_loss, train_step
from pmc_llama.train.world import World, join_world
from train.tiny import options

ORIGINAL = 48
"""Positions that a model was first trained for, where RoPE asks; the packed documents are shorter, questions longer."""
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 2048,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def _rope(kind: str, **more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 1e4, **more}}


_LONGROPE = {"short_factor": [1.0] * 4, "long_factor": [1.0, 2.0, 3.0, 5.0], "factor": 8.0}
_LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_FIRST = {"original_max_position_embeddings": ORIGINAL}
_QWEN_WINDOW = {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-1": ("llama", {"num_key_value_heads": 4}),
    "llama-2": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama-3": ("llama", _rope("llama3", **_LLAMA3, **_FIRST)),
    "llama-linear": ("llama", _rope("linear", factor=4.0)),
    "llama-dynamic": ("llama", {**_rope("dynamic", factor=4.0), "max_position_embeddings": ORIGINAL}),
    "llama-yarn": ("llama", {**_rope("yarn", factor=4.0, **_FIRST), "max_position_embeddings": 4 * ORIGINAL}),
    "mistral-window": ("mistral", {"sliding_window": 16}),
    "qwen2": ("qwen2", _QWEN_WINDOW),
    "qwen3": ("qwen3", {}),
    "phi3-longrope": ("phi3", {**_rope("longrope", **_LONGROPE, **_FIRST), **_FIRST}),
    "olmo2": ("olmo2", {}),
    "smollm3": ("smollm3", {}),
    "glm": ("glm", {}),
    "gemma3": ("gemma3_text", {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}),
    "apertus": ("apertus", _rope("default")),
}
TIED, PRECISIONS = (False, True), (torch.float32, torch.bfloat16)


def tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    path = folder / "tokenizer"
    return hf_tokenizer(path if path.is_dir() else byte_tokenizer(path, adds="<s> $A"))


def make(folder: Path, name: str, tied: bool, precision: torch.dtype) -> tuple[Path, PreTrainedModel]:
    """A folder of the architecture with random weights, and what transformers makes of it, in fp32."""
    kind, fields = ARCHITECTURES[name]
    config = AutoConfig.for_model(kind, **{**SIZES, "vocab_size": 403, "tie_word_embeddings": tied, **fields})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=precision)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.15)
            elif parameter.numel() > 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)  # norms, biases
    path = folder / f"{name}-{tied}-{precision}".replace("torch.", "")
    shutil.rmtree(path, ignore_errors=True)
    model.save_pretrained(path)
    return path, plain(path)


def plain(folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def rows() -> Rows:
    """Two rows of two documents each, none longer than `ORIGINAL` or shorter than the windows."""
    rng = np.random.default_rng(0)
    ids = rng.integers(3, 400, (2, 64))
    positions = np.stack([np.concatenate([np.arange(cut), np.arange(64 - cut)]) for cut in (23, 44)])
    return Rows(ids, positions, np.where(positions == 0, IGNORE, ids))


@torch.no_grad()
def loss_of_documents(model: PreTrainedModel) -> float:
    """Of each document of `rows` by itself, through transformers' own forward pass: the mean over their tokens."""
    total, tokens = 0.0, 0
    for ids, positions in zip(*(torch.from_numpy(one) for one in (rows().ids, rows().position_ids)), strict=True):
        cut = int((positions == 0).nonzero()[1])
        for document in (ids[:cut], ids[cut:]):
            logits = model(document[None], use_cache=False).logits[0, :-1].float()
            total += float(F.cross_entropy(logits, document[1:], reduction="sum"))
            tokens += len(document) - 1
    return total / tokens


@torch.no_grad()
def loss_of_rows(net: Any, world: World) -> float:
    """The same of a model as it is trained."""
    batch = micro_batches(rows(), 2, world.device)[0]
    net.eval()
    loss = float(net.loss_sum(batch)) / len(batch.targets)
    net.train()
    return loss


def targets(model: PreTrainedModel) -> dict[str, list[str]]:
    """What LoRA is put on: queries and values, and all matrices of the blocks."""
    linear = {name.rpartition(".")[2] for name, one in model.named_modules() if isinstance(one, torch.nn.Linear)}
    few = {"q_proj", "v_proj"} if "q_proj" in linear else {"qkv_proj"}
    return {"few": sorted(few), "all": sorted(linear - {"lm_head"})}


def train_and_export(folder: Path, name: str, tied: bool, precision: torch.dtype, world: World) -> Iterator[str]:
    """All tunings of one architecture; yields what is wrong."""
    if world.is_first:
        make(folder, name, tied, precision)
    world.barrier()
    path = folder / f"{name}-{tied}-{precision}".replace("torch.", "")
    model, words = plain(path), tokenizer(folder)
    before = loss_of_documents(model)
    sections = [LoraSection(r=2, dropout=0.0, targets=names) for names in targets(model).values()]
    for kind, lora in zip(("full", "few", "all"), [None, *sections], strict=True):
        net = build_model(
            ModelOrigin(path=path), tokenizer=words, mesh=world.mesh, device=world.device, dtype=torch.float32,
            seed=0, lora=lora,
        )  # fmt: skip
        attach_loss(net)
        prove_isolation(net, world)
        loaded = loss_of_rows(net, world)
        unmoved = _step(net, world)
        trained = loss_of_rows(net, world)
        out = path / f"out-{kind}-{world.size}"
        export_hf(net, words, out, is_first=world.is_first, base=str(path))
        if world.is_first:
            again = plain(out) if lora is None else load_for_inference(path, adapter=out)
            exported = loss_of_documents(again)
            if not abs(loaded - before) < 2e-5:
                yield f"{path.name} {kind}: loaded {loaded}, transformers {before}"
            if not abs(exported - trained) < 2e-5:
                yield f"{path.name} {kind}: exported {exported}, trained {trained}"
            if unmoved or not trained < loaded - 1e-3:
                yield f"{path.name} {kind}: {loaded} -> {trained}, not trained: {unmoved}"
    world.barrier()


def _step(net: Any, world: World) -> list[str]:
    """One update on all rows; names of what should have moved and did not (LoRA's A waits for B)."""
    mine = [value[world.rank :: world.size] for value in (rows().ids, rows().position_ids, rows().labels)]
    part = Rows(*mine)
    batch = micro_batches(part, 1, world.device)
    totals = agree(world, part, batch, stop=False, save=False, written=True)
    reshard(net)  # whose parameters are the whole ones since the last forward pass
    optimizer = build_optimizer(net, options())
    before = {name: _whole(one) for name, one in net.named_parameters() if one.requires_grad}
    train_step(
        net, optimizer, Guard(world.device), batch, totals, step=1, lr=5e-3, clip=1.0, world=world
    )  # fmt: skip
    now = {name: _whole(one) for name, one in net.named_parameters() if one.requires_grad}
    return [name for name, old in before.items() if ".lora_A." not in name and torch.equal(now[name], old)]


def _whole(value: torch.Tensor) -> torch.Tensor:
    value = value.detach()
    return (value.full_tensor() if isinstance(value, DTensor) else value).clone()  # of one shard, it is the same memory


QUESTIONS = [
    Question("t", str(i), f"Which drug of {i} lowers the pressure of {'the patients ' * i}?", options, gold=i % 4)
    for i, options in enumerate([("aspirin", "12.5 mg", "a long walk", "it"), ("no", "yes", "maybe", "b12 " * 5)] * 3)
]


@torch.no_grad()
def plain_scores(model: PreTrainedModel, words: PreTrainedTokenizerBase, prompt: str, shots: int) -> list[list[float]]:
    """Log-likelihoods of options, each by a forward pass of its own."""
    found = []
    for question in QUESTIONS:
        encoded = encode_prompts(words, [render(prompt, question, None, tuple(QUESTIONS[:shots]))])[0]
        values = []
        for part in encoded.continuations:
            ids = torch.tensor([encoded.context + part])
            logprobs = model(ids[:, :-1], use_cache=False).logits[0].float().log_softmax(-1)
            values.append(float(sum(logprobs[len(encoded.context) - 1 + i, one] for i, one in enumerate(part))))
        found.append(values)
    return found


def half_of_the_kinds(name: str) -> list[tuple[bool, torch.dtype]]:
    """Tied and not, fp32 and bf16, each once; which goes with which alternates from one architecture to the next.

    One process has tried all four of each architecture; two add how weights are split, which no pair of these decides.
    """
    precisions = PRECISIONS if list(ARCHITECTURES).index(name) // 2 % 2 else PRECISIONS[::-1]
    return list(zip(TIED, precisions, strict=True))


def main(folder: Path, names: list[str]) -> int:
    with join_world() as world:
        wrong = [
            problem
            for name in names
            for tied, precision in half_of_the_kinds(name)
            for problem in train_and_export(folder, name, tied, precision, world)
        ]
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
