"""What benchmarks/gpu_run.py measures once all is right: ceilings of the hardware, and what we reach of them."""

import argparse
import gc
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import LlamaConfig, LlamaForCausalLM

import train_gpu
from gpu_checks import device
from gpu_questions import questions, words
from pmc_llama.model import load
from pmc_llama.model.attention import Documents, attend
from pmc_llama.model.memory import memory_of
from pmc_llama.recipe.training import TrainSection

LAYERS_7B, SMALLER = "llama-7b-layers", "llama-1.1b"


def seconds_of(work: Callable[[], Any], times: int = 5) -> float:
    """Median of a few runs, after one that is not counted."""
    found = []
    for _ in range(times + 1):
        started_s = train_gpu.now_s()
        work()
        found.append(train_gpu.now_s() - started_s)
    return statistics.median(found[1:])


def ceilings(record: Any) -> None:
    """TFLOP/s of bf16 products of a 7B model's shapes, and of attention by each kernel that there is."""
    tokens, d, f, v = (64, 32, 64, 128) if record.smoke else (16384, 4096, 11008, 32000)
    for name, inner, outer in (("attention", d, d), ("up", d, f), ("down", f, d), ("head", d, v)):
        record.attempt(f"product {name}", lambda i=inner, o=outer: product(tokens, i, o))
    rows, length, heads, width = (2, 32, 2, 16) if record.smoke else (8, 2048, 32, 128)
    for documents in (1, 8):
        for kernel in (packed, cudnn):
            name = f"attention {kernel.__name__}, {documents} documents a row"
            record.attempt(name, lambda k=kernel, n=documents: k(rows, length, heads, width, n))


def product(tokens: int, inner: int, outer: int) -> dict[str, Any]:
    left = torch.randn(tokens, inner, device=device(), dtype=torch.bfloat16)
    right = torch.randn(outer, inner, device=device(), dtype=torch.bfloat16)
    seconds = seconds_of(lambda: left @ right.T)
    return {"seconds": seconds, "tflops": 2 * tokens * inner * outer / seconds / 1e12}


def _attention_tflops(shape: Sequence[int], documents: int, seconds: float) -> dict[str, Any]:
    """Forward and backward are seven products of half a square (causal) a document."""
    rows, heads, length, width = shape
    work = 7 * 2 * rows * heads * width * documents * (length / documents) ** 2 / 2
    return {"seconds": seconds, "tflops": work / seconds / 1e12}


def packed(rows: int, length: int, heads: int, width: int, documents: int) -> dict[str, Any]:
    """Ours: variable-length flash attention, with its bounds padded as in training."""
    import numpy as np

    each = length // documents
    positions = np.tile(np.tile(np.arange(each), documents), (rows, 1))
    where = Documents.of(positions, device())
    values = [_random(rows, heads, length, width) for _ in range(3)]

    def work() -> None:
        out, _ = attend(nn.Identity(), *values, None, documents=where)
        torch.autograd.grad(out.sum(), values)

    return _attention_tflops((rows, heads, length, width), documents, seconds_of(work))


def cudnn(rows: int, length: int, heads: int, width: int, documents: int) -> dict[str, Any]:
    """cuDNN's kernel over a batch of documents of one length; on a CPU torch's own, to see that this runs."""
    values = [_random(rows * documents, heads, length // documents, width) for _ in range(3)]
    kernel = SDPBackend.CUDNN_ATTENTION if torch.cuda.is_available() else SDPBackend.MATH

    def work() -> None:
        with sdpa_kernel(kernel):
            out = F.scaled_dot_product_attention(*values, is_causal=True)
        torch.autograd.grad(out.sum(), values)

    return _attention_tflops((rows, heads, length, width), documents, seconds_of(work))


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, device=device(), dtype=torch.bfloat16, requires_grad=True)


def _options(record: Any, side: str, model: str, **changes: Any) -> argparse.Namespace:
    tiny = {"micro_batch": 2, "accumulate": 2, "steps": 2, "model": ["smoke"]} if record.smoke else {"model": [model]}
    how = {"micro_batch": 8, "accumulate": 8, "steps": 6, "recompute": "none", "profile": False}
    return argparse.Namespace(side=side, smoke=record.smoke, result=None, runs=1, **{**how, **changes, **tiny})


def measured(record: Any, name: str, side: str, model: str, **changes: Any) -> None:
    """A side of benchmarks/train_gpu.py, with smaller micro-batches of the same global batch where memory is short."""
    options = _options(record, side, model, **changes)
    while True:
        try:
            found = _one_side(options)
        except torch.OutOfMemoryError as error:
            record(name, ok=False, micro_batch=options.micro_batch, error=str(error)[:300])
        except Exception as error:
            record(name, ok=False, error=f"{type(error).__name__}: {error}"[:500])
            raise
        else:
            record(name, ok=True, side=side, recompute=options.recompute, **found)
            return
        options.micro_batch, options.accumulate = options.micro_batch // 2, options.accumulate * 2
        if not options.micro_batch:
            return
        gc.collect()
        torch.cuda.empty_cache()


def _one_side(options: argparse.Namespace) -> dict[str, Any]:
    shape = train_gpu.shape_of(options)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    if not options.side.startswith("ours"):
        return train_gpu.run_trainer(options, shape)
    started_s = time.monotonic()
    found = train_gpu.run_ours(options, shape)
    how = TrainSection(
        micro_batch=options.micro_batch,
        seq_len=shape["max_position_embeddings"],
        activation_checkpointing=options.recompute,
    )
    planned = memory_of(LlamaConfig(**shape), how, None, 1).total
    return {**found, "planned_bytes": planned, "seconds_in_all": time.monotonic() - started_s}


def ours(record: Any) -> None:
    """7B layers as training runs them; where a step's time goes is in the log."""
    measured(record, "7B layers, compiled", "ours", LAYERS_7B, profile=True)


def variants(record: Any) -> None:
    """What recomputing costs and saves, and what compiling saves."""
    measured(record, "7B layers, compiled, selective", "ours", LAYERS_7B, recompute="selective")
    measured(record, "7B layers, eager", "ours-eager", LAYERS_7B)


def trainer(record: Any) -> None:
    """transformers' Trainer on the same layers."""
    measured(record, "7B layers, Trainer", "trainer", LAYERS_7B)


def smaller(record: Any) -> None:
    """A whole model of 1.1B."""
    measured(record, "1.1B, compiled", "ours", SMALLER)
    measured(record, "1.1B, Trainer", "trainer", SMALLER)


def compiled(record: Any) -> None:
    """Trainer with torch_compile, last, as it takes long to begin."""
    measured(record, "7B layers, Trainer, compiled", "trainer" if record.smoke else "trainer-compile", LAYERS_7B)


def float8(record: Any) -> None:
    """Products in 8 bits, and 7B layers whose products torchao makes in 8 bits."""
    tokens, d, f = (64, 32, 64) if record.smoke else (16384, 4096, 11008)
    if torch.cuda.is_available():
        for inner, outer in ((d, d), (d, f), (f, d)):
            record.attempt(f"8-bit product {inner} x {outer}", lambda i=inner, o=outer: product_in_8_bits(tokens, i, o))
    else:
        record("8-bit product", ok=True, left_out="needs a GPU")
    if importlib.util.find_spec("torchao") is None:
        record("7B layers, compiled, float8", ok=True, left_out="torchao is not installed")
        return
    with _in_8_bits(emulated=not torch.cuda.is_available()):
        measured(record, "7B layers, compiled, float8", "ours", LAYERS_7B)


def product_in_8_bits(tokens: int, inner: int, outer: int) -> dict[str, Any]:
    """One scale a tensor, with the fast sums that training takes in its forward pass."""
    left = torch.randn(tokens, inner, device=device()).to(torch.float8_e4m3fn)
    right = torch.randn(outer, inner, device=device()).to(torch.float8_e4m3fn)
    one = torch.ones((), device=device())
    seconds = seconds_of(
        lambda: torch._scaled_mm(left, right.T, one, one, out_dtype=torch.bfloat16, use_fast_accum=True)
    )
    return {"seconds": seconds, "tflops": 2 * tokens * inner * outer / seconds / 1e12}


@contextmanager
def _in_8_bits(*, emulated: bool) -> Iterator[None]:
    """Models that are built in the block have their blocks' matrices in 8 bits while they multiply."""
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training

    made = load.shape_on_meta

    def converted(*arguments: Any, **more: Any) -> Any:
        model: Any = made(*arguments, **more)
        convert_to_float8_training(model.model.layers, config=Float8LinearConfig(emulate=emulated))
        return model

    with mock.patch.object(load, "shape_on_meta", converted):
        yield


@torch.no_grad()
def scoring(record: Any) -> None:
    """1,273 questions (as many as MedQA's test has) by a model of 7B's shape with random weights, both ways."""
    from pmc_llama.qa.score import score

    shape = train_gpu.SMOKE if record.smoke else {**train_gpu.LLAMA_7B_LAYERS, "num_hidden_layers": 32}
    vocabulary, count, length = (200, 6, 10) if record.smoke else (32000, 1273, 160)
    config = LlamaConfig(**shape, vocab_size=vocabulary, max_position_embeddings=2048)
    with torch.device(device()):
        model: Any = LlamaForCausalLM._from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
    tokenizer, asked = words(vocabulary), questions(count, length=length, vocabulary=vocabulary)
    score(model, tokenizer, asked[: count // 10], answers="texts")  # not counted: the proof, and the kernels' start
    started_s = train_gpu.now_s()
    mine = [one.option_logprobs for one in score(model, tokenizer, asked, answers="texts")]
    seconds = train_gpu.now_s() - started_s
    record("ours", ok=True, seconds=seconds, questions_per_second=count / seconds)
    few = asked[: len(asked) if record.smoke else 400]  # enough for a rate
    started_s = train_gpu.now_s()
    theirs = _an_option_a_row(model, tokenizer, few)
    each_s = (train_gpu.now_s() - started_s) / len(few)
    difference = float((torch.tensor(mine[: len(few)]) - torch.tensor(theirs)).abs().max())
    record(
        "one row per option", ok=True, questions_per_second=1 / each_s, ratio=each_s * count / seconds, nats=difference
    )


def _an_option_a_row(model: Any, tokenizer: Any, asked: Any, rows: int = 64) -> list[list[float]]:
    """Batches of padded rows of like length, each a question with one of its options, as harnesses have them."""
    from pmc_llama.qa.encoding import encode_prompts
    from pmc_llama.qa.prompts import render

    encoded = encode_prompts(tokenizer, [render("lm-eval", one, "texts") for one in asked])
    inputs = [
        (q, o, [*one.context, *part], len(part))
        for q, one in enumerate(encoded)
        for o, part in enumerate(one.continuations)
    ]
    inputs.sort(key=lambda one: -len(one[2]))
    found = [[0.0] * 4 for _ in asked]
    for start in range(0, len(inputs), rows):
        batch = inputs[start : start + rows]
        longest = len(batch[0][2])
        ids = torch.tensor([ids + [0] * (longest - len(ids)) for _, _, ids, _ in batch], device=device())
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        values = F.log_softmax(logits.float(), -1).gather(-1, ids[:, 1:, None])[..., 0].cpu()
        for (question, option, whole, last), row in zip(batch, values, strict=True):
            found[question][option] = float(row[len(whole) - 1 - last : len(whole) - 1].sum())
    return found
