"""Training steps on GPUs beside Hugging Face's Trainer: same shapes, same random tokens, same optimiser, bf16.

    python benchmarks/train_gpu.py                                  # one GPU: all models, all sides
    python benchmarks/train_gpu.py --model llama-1.1b --profile     # one model, and where a step's time goes
    torchrun --standalone --nproc-per-node=8 benchmarks/train_gpu.py

This file starts from a copy of the repository: nothing is installed and nothing is downloaded. Where torch >= 2.11,
transformers >= 5.17, accelerate, peft, psutil and pyyaml are, two small packages may be missing. For a machine without
network, fetch them elsewhere (`pip download -d wheels --python-version 3.12 --only-binary=:all: pydantic msgspec`), and
install them there (`pip install --no-index --find-links wheels pydantic msgspec`).

- `ours` is the loop of `pmc-llama pretrain` (`train_step`: fp32 master weights, FSDP2, variable-length flash attention,
  loss in chunks, fused AdamW) with `compile: true`; `ours-eager` is the same without.
- `trainer` is transformers' Trainer (bf16 autocast over fp32 weights, SDPA, fused AdamW; DDP under torchrun), and
  `trainer-compile` the same with `torch_compile`. Activation checkpointing is the same on both sides (`--recompute`).

Each side runs in processes of its own. One that runs out of memory is tried again with half the micro-batch and twice
the accumulation, so all sides take the same tokens per step. Rates are tokens per second and GPU over all steps after
the warm-up. MFU is shown for GPUs whose dense bf16 peak is known. Written: benchmarks/results/train_gpu.json.
`--smoke` is a tiny shape that also runs on a CPU: it shows that the script works, and measures nothing.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

VOCABULARY, LR, WARM_UP, OUT_OF_MEMORY = 32000, 1e-5, 5, 75
LLAMA_7B_LAYERS = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 8,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
}
LLAMA_1_1B = {  # TinyLlama's
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
}
SMOKE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
MODELS = {"llama-7b-layers": LLAMA_7B_LAYERS, "llama-1.1b": LLAMA_1_1B, "smoke": SMOKE}
SIDES = ("ours", "ours-eager", "trainer", "trainer-compile")
PRODUCTS = ("gemm", "nvjet", "cutlass", "xmma", "flash", "fmha", "::mm", "::bmm", "::addmm", "::baddbmm")
"""What kernels (on CPUs: operators) of matrix products and attention have in their names."""


def shape_of(options: argparse.Namespace) -> dict[str, Any]:
    length = 64 if options.smoke else 2048
    vocabulary = 512 if options.smoke else VOCABULARY
    return {**MODELS[options.model[0]], "vocab_size": vocabulary, "max_position_embeddings": length}


def random_row(number: int, vocabulary: int, length: int) -> Any:
    import numpy as np

    return np.random.default_rng((0, number)).integers(0, vocabulary, length)


def run_ours(options: argparse.Namespace, shape: dict[str, Any]) -> dict[str, Any]:
    """Steps of our loop, all but its records and checkpoints."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    from pmc_llama.model.load import ModelOrigin, build_model
    from pmc_llama.model.precision import compute_dtype
    from pmc_llama.recipe.training import OptimSection
    from pmc_llama.train.agreement import agree
    from pmc_llama.train.microbatch import micro_batches
    from pmc_llama.train.optim import Guard, build_optimizer
    from pmc_llama.train.step import attach_loss, train_step
    from pmc_llama.train.world import join_world

    words = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>")
    with join_world() as world:
        net: Any = build_model(
            ModelOrigin(config=shape), tokenizer=tokenizer, mesh=world.mesh, device=world.device,
            dtype=compute_dtype("bf16", world.device), seed=0, recompute=options.recompute,
            compiled=options.side == "ours",
        )  # fmt: skip
        attach_loss(net, compiled=options.side == "ours")
        optimizer, guard = build_optimizer(net, OptimSection(lr=LR)), Guard(world.device)
        losses = []

        def one(step: int) -> None:
            rows = rows_of(step, world.rank, world.size, options, shape)
            batch = micro_batches(rows, options.micro_batch, world.device)
            totals = agree(world, rows, batch, stop=False, save=False, written=True)
            losses.append(train_step(net, optimizer, guard, batch, totals, step=step, lr=LR, clip=1.0, world=world)[0])

        started_s = 0.0
        for step in range(WARM_UP + options.steps):
            if step == WARM_UP:
                started_s = now_s()
            one(step)
        seconds = now_s() - started_s
        if options.profile and world.is_first:
            show_profile(lambda: one(WARM_UP))
    return result(options, shape, seconds, float(torch.stack(losses).mean()))


def rows_of(step: int, rank: int, world: int, options: argparse.Namespace, shape: dict[str, Any]) -> Any:
    """This process's rows of global batch `step`: each a single document."""
    import numpy as np

    from pmc_llama.train.batches import IGNORE, Rows

    each, length = options.micro_batch * options.accumulate, shape["max_position_embeddings"]
    first = (step * world + rank) * each
    ids = np.stack([random_row(first + i, shape["vocab_size"], length) for i in range(each)])
    labels = ids.copy()
    labels[:, 0] = IGNORE
    return Rows(ids, np.tile(np.arange(length), (each, 1)), labels)


def run_trainer(options: argparse.Namespace, shape: dict[str, Any]) -> dict[str, Any]:
    """The same through Trainer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

    each, length, steps = options.micro_batch, shape["max_position_embeddings"], WARM_UP + options.steps
    total = steps * options.accumulate * each * int(os.environ.get("WORLD_SIZE", "1"))

    class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return total

        def __getitem__(self, number: int) -> dict[str, Any]:
            ids = torch.from_numpy(random_row(number, shape["vocab_size"], length))
            return {"input_ids": ids, "labels": ids}

    class Clock(TrainerCallback):
        started_s = ended_s = 0.0

        def on_step_end(self, arguments: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == WARM_UP:
                self.started_s = now_s()
            if state.global_step == steps:
                self.ended_s = now_s()

    clock = Clock()
    gpu = torch.cuda.is_available()
    with torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if gpu else torch.device("cpu"):
        model = LlamaForCausalLM._from_config(LlamaConfig(**shape, use_cache=False), attn_implementation="sdpa")
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, per_device_train_batch_size=each, gradient_accumulation_steps=options.accumulate, max_steps=steps,
            learning_rate=LR, lr_scheduler_type="constant", max_grad_norm=1.0, optim="adamw_torch_fused", bf16=True,
            gradient_checkpointing=options.recompute == "full", torch_compile=options.side == "trainer-compile",
            use_cpu=not gpu, logging_steps=steps, logging_nan_inf_filter=False, save_strategy="no", report_to=[],
            disable_tqdm=True, remove_unused_columns=False,
        )  # fmt: skip
        trainer = Trainer(model, arguments, train_dataset=Rows(), callbacks=[clock])
        loss = trainer.train().training_loss
        if options.profile and trainer.is_world_process_zero():
            batch = next(iter(trainer.get_train_dataloader()))
            show_profile(lambda: trainer.training_step(trainer.model_wrapped, batch))
    return result(options, shape, clock.ended_s - clock.started_s, loss)


def now_s() -> float:
    """The time, once the GPU has done all that was asked of it."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def show_profile(step: Callable[[], Any]) -> None:
    """Kernels of one step by time, and the share of matrix products and attention."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    gpu = torch.cuda.is_available()
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]) as found:
        step()
        now_s()
    name = "self_device_time_total" if gpu else "self_cpu_time_total"
    events = [event for event in found.key_averages() if not gpu or event.device_type != torch.autograd.DeviceType.CPU]
    total = sum(getattr(event, name) for event in events)
    inside = sum(getattr(event, name) for event in events if any(mark in event.key.lower() for mark in PRODUCTS))
    print(f"matrix products and attention: {inside / total:.1%} of {total / 1e3:,.1f} ms", file=sys.stderr)
    for event in sorted(events, key=lambda event: -getattr(event, name))[:25]:
        print(f"{getattr(event, name) / 1e3:9.2f} ms {event.count:6} x {event.key[:110]}", file=sys.stderr)


def result(options: argparse.Namespace, shape: dict[str, Any], seconds: float, loss: float) -> dict[str, Any]:
    """Of one process, which stands for all."""
    import torch
    from transformers import LlamaConfig

    from pmc_llama.model.gpus import gpu_peak
    from pmc_llama.model.hardware import flops_per_token

    rate = options.steps * options.micro_batch * options.accumulate * shape["max_position_embeddings"] / seconds
    gpu = torch.cuda.is_available()
    peak = gpu_peak(torch.device("cuda", torch.cuda.current_device())) if gpu else None
    work = flops_per_token(LlamaConfig(**shape), shape["max_position_embeddings"])
    return {
        "tokens_per_second": rate,
        "mfu": None if peak is None else rate * work / peak,
        "peak_bytes": torch.cuda.max_memory_allocated() if gpu else None,
        "reserved_bytes": torch.cuda.max_memory_reserved() if gpu else None,
        "micro_batch": options.micro_batch,
        "accumulate": options.accumulate,
        "loss": loss,
    }


def in_own_process(options: argparse.Namespace, model: str, side: str, port: int) -> dict[str, Any] | None:
    """One side's result, with a smaller micro-batch where memory is short; None if even one row is too much."""
    micro, accumulate = options.micro_batch, options.accumulate
    environment = {**os.environ, "MASTER_PORT": str(int(os.environ.get("MASTER_PORT", "29500")) + port)}
    environment.pop("TORCHELASTIC_USE_AGENT_STORE", None)
    while micro:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "result.json"
            command = [sys.executable, __file__, "--side", side, "--result", str(file), "--model", model]
            command += ["--steps", str(options.steps), "--recompute", options.recompute]
            command += ["--micro-batch", str(micro), "--accumulate", str(accumulate)]
            command += ["--profile"] * options.profile + ["--smoke"] * options.smoke
            code = subprocess.run(command, env=environment, check=False).returncode
            if code == 0:
                return dict(json.loads(file.read_text()))
        if code != OUT_OF_MEMORY:
            raise SystemExit(f"{side} on {model} failed with code {code}; what it said stands above")
        micro, accumulate = micro // 2, accumulate * 2
    return None


def rows_from(model: str, found: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The table's rows: ours beside each peer, medians over the runs."""
    middle = {
        side: sorted(results, key=lambda one: one["tokens_per_second"])[len(results) // 2]
        for side, results in found.items()
        if results
    }
    peers = [side for side in middle if side.startswith("trainer")]
    pairs = itertools.product([side for side in middle if side not in peers], peers)
    return [
        {
            "name": f"{model} {ours}",
            "unit": "tokens per second and GPU",
            "ours": middle[ours]["tokens_per_second"],
            "peer": middle[peer]["tokens_per_second"],
            "peer_name": peer,
            "ratio": middle[ours]["tokens_per_second"] / middle[peer]["tokens_per_second"],
            "runs": len(found[ours]),
            "sides": {"ours": middle[ours], "peer": middle[peer]},
        }
        for ours, peer in pairs
    ]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=list(MODELS), default=["llama-7b-layers", "llama-1.1b"])
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--steps", type=int, default=20, help="timed steps, after the warm-up")
    parser.add_argument("--micro-batch", type=int, default=8, help="rows in one forward pass of one GPU")
    parser.add_argument("--accumulate", type=int, default=2, help="forward passes of one GPU in a step")
    parser.add_argument("--recompute", choices=["none", "full"], default="none", help="activation checkpointing")
    parser.add_argument("--runs", type=int, default=1, help="times that each side is run, in turn")
    parser.add_argument("--profile", action="store_true", help="print where the time of one more step goes")
    parser.add_argument("--smoke", action="store_true", help="a tiny shape, to see that the script works")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results/train_gpu.json")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.smoke:
        options.model = ["smoke"]
    return options


def one_side(options: argparse.Namespace) -> None:
    import torch

    run = run_ours if options.side.startswith("ours") else run_trainer
    try:
        options.result.write_text(json.dumps(run(options, shape_of(options))))
    except torch.OutOfMemoryError as error:
        print(f"{options.side}, micro-batch {options.micro_batch}: {str(error)[:200]}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(OUT_OF_MEMORY)  # other processes of the run may wait in a collective that never comes


def main() -> None:
    options = parse()
    if options.side:
        one_side(options)
        return
    from pmc_llama.environment import describe_environment
    from pmc_llama.files import write_json
    from pmc_llama.model.hardware import FLOPS_FORMULA

    first, rows, ports = os.environ.get("RANK", "0") == "0", [], itertools.count(1)
    for model in options.model:
        found: dict[str, list[dict[str, Any]]] = {side: [] for side in options.sides}
        for _ in range(options.runs):
            for side in options.sides:
                one = in_own_process(options, model, side, next(ports))
                found[side] += [] if one is None else [one]
                if first:
                    print(model, side, json.dumps(one) if one else "does not fit", flush=True)
        rows += rows_from(model, found)
    if not first:
        return
    for row in rows:
        mfu = [f"{side['mfu']:.1%}" if side["mfu"] else "unknown" for side in row["sides"].values()]
        print(f"{row['name']:28} {row['ours']:10,.0f} (MFU {mfu[0]}) {row['peer']:10,.0f} (MFU {mfu[1]}) "
              f"{row['peer_name']:16} {row['ratio']:5.2f} x")  # fmt: skip
    print(f"MFU = tokens per second x FLOPs per token / dense bf16 peak; {FLOPS_FORMULA}")
    environment = describe_environment()
    report = {"hardware": environment.hardware, "versions": environment.packages, "rows": rows}
    write_json(options.results, report | {"flops": FLOPS_FORMULA, "options": {"micro_batch": options.micro_batch}})


if __name__ == "__main__":
    main()
