"""Training steps of our loop beside Hugging Face's Trainer: same model, same tokens, same optimiser, one CPU core.

    python benchmarks/train.py [--runs 3]

Rates are tokens that count (no padding) a second of CPU time of steady steps, the first ones left out, so that
neighbours on the machine weigh less; the processes of both sides alternate. Rows:

- `pretrain-packed`: rows full of text, both sides with torch.compile; `pretrain-packed-eager`: neither.
- `tune-qa`: HEAD-QA questions of their real lengths with the Mistral-v1 tokenizer; peer `trainer-dynamic-padding` pads
  each batch to its longest, `trainer-pad-512` every question to 512 tokens, as is common.

The share of our step that is the model's own matrix products and attention comes from torch's profiler. `loss` is the
mean loss of the steps of both sides, so that one sees that they compute the same.
Written: benchmarks/results/train.json.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("PMC_LLAMA_SHARED_DATA", ROOT.parent / "shared" / "data"))
WARM_UP, STEPS, TEXT_ROWS, TEXT_LENGTH, QUESTIONS = 2, 3, 8, 512, 32
LR = 1e-4


def shape(kind: str) -> dict[str, int]:
    """Four layers of LLaMA's proportions; narrower for questions, as rows of 512 tokens take one side very long."""
    heads = 12 if kind == "pretrain-packed" else 6
    return {
        "hidden_size": 64 * heads,
        "intermediate_size": {12: 2048, 6: 1024}[heads],
        "num_hidden_layers": 4,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "max_position_embeddings": 2048,
        "vocab_size": 32000,
    }


class Text:
    """Rows full of text: documents of WikiText-2 joined, as the same numpy arrays for both sides."""

    fingerprint, steps = "text", WARM_UP + STEPS

    def __init__(self, tokenizer: Any) -> None:
        import numpy as np

        lines = (DATA / "general/wikitext-2/valid.txt").read_text().splitlines()
        needed = self.steps * TEXT_ROWS * TEXT_LENGTH
        ids: list[int] = []
        for line in lines:
            ids += tokenizer(line)["input_ids"] if line.strip() else []
            if len(ids) >= needed:
                break
        self._ids = np.array(ids[:needed], np.int64).reshape(self.steps, TEXT_ROWS, TEXT_LENGTH)

    def rows(self, step: int, rank: int = 0, world: int = 1) -> Any:
        import numpy as np

        from pmc_llama.train.batches import IGNORE, Rows

        ids = self._ids[step]
        labels = ids.copy()
        labels[:, 0] = IGNORE
        return Rows(ids, np.tile(np.arange(TEXT_LENGTH), (TEXT_ROWS, 1)), labels)

    def coverage(self, step: int) -> None:
        return None

    def counting(self, step: int) -> int:
        return TEXT_ROWS * TEXT_LENGTH


def questions(tokenizer: Any) -> Any:
    """Our batches of HEAD-QA, QUESTIONS questions each; the peers take the examples of the same batches."""
    from pmc_llama.qa.examples import tuning_batches
    from pmc_llama.qa.tasks import load_questions
    from pmc_llama.recipe.qa import TaskSection
    from pmc_llama.recipe.training import TrainSection

    section = TaskSection(format="headqa", train="qa/headqa/train_HEAD_EN.json")
    asked = load_questions("headqa", section, DATA, "train")[: QUESTIONS * (WARM_UP + STEPS)]
    options = TrainSection(seq_len=1024, global_batch=QUESTIONS, epochs=1)
    return tuning_batches(asked, prompt="lm-eval", tokenizer=tokenizer, options=options, loss_on="all", seed=0)


def split(rows: Any) -> list[dict[str, list[int]]]:
    """The documents of packed rows, padding left out, as a Trainer's dataset has them."""
    found = []
    for ids, positions, labels in zip(rows.ids, rows.position_ids, rows.labels, strict=True):
        starts = [i for i, position in enumerate(positions) if position == 0] + [len(ids)]
        for start, end in itertools.pairwise(starts):
            if (labels[start:end] != -100).any():
                found.append({"input_ids": ids[start:end].tolist(), "labels": labels[start:end].tolist()})
    return found


def source(kind: str) -> tuple[Any, Any]:
    from pmc_llama.tokens.encode import hf_tokenizer

    tokenizer = hf_tokenizer(DATA / "tokenizer/mistral-v1/tokenizer.model")
    return tokenizer, Text(tokenizer) if kind == "pretrain-packed" else questions(tokenizer)


def counted(batches: Any, step: int) -> int:
    return sum(len(example["input_ids"]) for example in split(batches.rows(step)))


def write_weights(kind: str, folder: Path) -> None:
    """The model that both sides start from."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**shape(kind))).save_pretrained(folder)


def run_ours(kind: str, weights: Path, compiled: bool) -> dict[str, Any]:
    """Steady steps of our loop, driven as `train` drives them."""
    import torch

    from pmc_llama.model.load import ModelOrigin, build_model
    from pmc_llama.recipe.training import TrainSection
    from pmc_llama.train.agreement import agree
    from pmc_llama.train.memory import keep_freed_memory
    from pmc_llama.train.microbatch import micro_batches
    from pmc_llama.train.optim import Guard, build_optimizer
    from pmc_llama.train.step import attach_loss, train_step
    from pmc_llama.train.world import join_world

    tokenizer, batches = source(kind)
    seconds, losses = [], []
    with join_world() as world:
        keep_freed_memory()
        net: Any = build_model(
            ModelOrigin(path=weights), tokenizer=tokenizer, mesh=world.mesh, device=world.device,
            dtype=torch.bfloat16, seed=0, compiled=compiled,
        )  # fmt: skip
        attach_loss(net, compiled=compiled)
        optimizer, guard = build_optimizer(net, TrainSection(lr=LR)), Guard(world.device)

        def one(step: int) -> None:
            began = time.process_time()
            rows = batches.rows(step)
            batch = micro_batches(rows, 8, world.device)
            totals = agree(world, rows, batch, stop=False, save=False, written=True)
            values = train_step(net, optimizer, guard, batch, totals, step=step, lr=LR, clip=1.0, world=world)
            seconds.append(time.process_time() - began)
            losses.append(float(values[0]))

        for step in range(WARM_UP + STEPS):
            one(step)
        with torch.profiler.profile() as profile:
            one(WARM_UP)
    return {"share": products_share(profile), **result(batches, seconds[: WARM_UP + STEPS], losses[: WARM_UP + STEPS])}


def products_share(profile: Any) -> float:
    """Share of a step's operator time that is matrix products and attention (with its softmax and its gathering)."""
    events = {event.key: event for event in profile.key_averages()}
    total = sum(event.self_cpu_time_total for event in events.values())
    products = sum(events[name].self_cpu_time_total for name in ("aten::mm", "aten::addmm") if name in events)
    attention = sum(events[name].cpu_time_total for name in ("_PerDocument", "_PerDocumentBackward"))
    return (products + attention) / total


def run_trainer(kind: str, weights: Path, padding: str, compiled: bool) -> dict[str, Any]:
    """The same through Trainer: examples one by one, its own collation, bf16 autocast."""
    import torch
    from transformers import LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

    _, batches = source(kind)
    steps = [split(batches.rows(step)) for step in range(WARM_UP + STEPS)]
    size = len(steps[0])
    seconds: list[float] = []

    def collate(examples: list[dict[str, list[int]]]) -> dict[str, Any]:
        longest = max(len(example["input_ids"]) for example in examples)
        length = max(512, longest) if padding == "512" else longest
        filled = {"input_ids": 2, "labels": -100}
        made = {
            name: torch.tensor([example[name] + [fill] * (length - len(example[name])) for example in examples])
            for name, fill in filled.items()
        }
        if padding != "none":
            made["attention_mask"] = torch.tensor(
                [[1] * len(example["input_ids"]) + [0] * (length - len(example["input_ids"])) for example in examples]
            )
        return made

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.process_time()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds.append(time.process_time() - self.began)

    model = LlamaForCausalLM.from_pretrained(weights, use_cache=False, dtype=torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, per_device_train_batch_size=size, max_steps=WARM_UP + STEPS, learning_rate=LR, bf16=True,
            use_cpu=True, torch_compile=compiled, lr_scheduler_type="constant", logging_steps=1, save_strategy="no",
            report_to=[], disable_tqdm=True, optim="adamw_torch_fused", max_grad_norm=1.0, dataloader_num_workers=0,
            remove_unused_columns=False, train_sampling_strategy="sequential",
        )  # fmt: skip
        dataset = [example for step in steps for example in step[:size]]
        trainer = Trainer(model, arguments, train_dataset=dataset, data_collator=collate, callbacks=[Clock()])
        trainer.train()
    losses = [float(line["loss"]) for line in trainer.state.log_history if "loss" in line]
    return result(batches, seconds, losses)


def result(batches: Any, seconds: list[float], losses: list[float]) -> dict[str, Any]:
    rates = [counted(batches, step) / seconds[step] for step in range(WARM_UP, WARM_UP + STEPS)]
    return {"rate": statistics.median(rates), "loss": statistics.mean(losses[WARM_UP : WARM_UP + STEPS])}


SIDES = {
    "ours": lambda kind, weights: run_ours(kind, weights, compiled=False),
    "ours-compile": lambda kind, weights: run_ours(kind, weights, compiled=True),
    "trainer": lambda kind, weights: run_trainer(kind, weights, "none", compiled=False),
    "trainer-compile": lambda kind, weights: run_trainer(kind, weights, "none", compiled=True),
    "trainer-dynamic-padding": lambda kind, weights: run_trainer(kind, weights, "dynamic", compiled=False),
    "trainer-pad-512": lambda kind, weights: run_trainer(kind, weights, "512", compiled=False),
}


def in_own_process(side: str, kind: str, weights: Path) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, __file__, "--side", side, "--kind", kind, "--weights", str(weights)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


ONCE = "trainer-pad-512"
"""Takes most of the time, and is ten times slower than any doubt about its rate."""
ROWS = {
    "pretrain-packed": ("pretrain-packed", "ours-compile", ["trainer-compile"]),
    "pretrain-packed-eager": ("pretrain-packed", "ours", ["trainer"]),
    "tune-qa": ("tune-qa", "ours", ["trainer-dynamic-padding", "trainer-pad-512"]),
}


def compare(name: str, runs: int) -> list[dict[str, Any]]:
    kind, ours, peers = ROWS[name]
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in [ours, *peers]}
    with tempfile.TemporaryDirectory() as folder:
        write_weights(kind, Path(folder))
        for side in [ours, *peers] * runs:
            if side == ONCE and found[side]:
                continue
            found[side].append(in_own_process(side, kind, Path(folder)))
            print(name, side, found[side][-1], flush=True)
    middle = {side: statistics.median(one["rate"] for one in results) for side, results in found.items()}
    return [
        {
            "name": name,
            "unit": "tokens that count per second of CPU time",
            "ours": middle[ours],
            "peer": middle[peer],
            "peer_name": peer,
            "ratio": middle[ours] / middle[peer],
            "runs": len(found[peer]),
            "loss": {"ours": found[ours][0]["loss"], "peer": found[peer][0]["loss"]},
            "products_share": statistics.median(one["share"] for one in found[ours]),
        }
        for peer in peers
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), help="others stay in the results")
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    parser.add_argument("--weights", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(SIDES[options.side](options.kind, options.weights)))
        return
    from pmc_llama.environment import describe_environment
    from pmc_llama.files import read_json, write_json

    results = ROOT / "benchmarks" / "results" / "train.json"
    measured = [row for name in options.rows for row in compare(name, options.runs)]
    before = read_json(results)["rows"] if results.exists() else []
    kept = [row for row in before if row["name"] in ROWS and row["name"] not in options.rows]
    rows = sorted(kept + measured, key=lambda row: list(ROWS).index(row["name"]))
    for row in rows:
        print(f"{row['name']:24} {row['ours']:9,.0f} {row['peer']:9,.0f} {row['peer_name']:24} {row['ratio']:6.2f} x")
    environment = describe_environment()
    write_json(results, {"hardware": environment.hardware, "versions": environment.packages, "rows": rows})


if __name__ == "__main__":
    main()
