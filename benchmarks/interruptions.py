"""A run that is interrupted ends as one that is not: killed, told to stop, and cut off while it writes a checkpoint.

    python benchmarks/interruptions.py [--steps 2000] [--moments 12]

A tiny LLaMA is trained over many epochs of made-up rows, half as long where there are two processes. Three runs are
compared with one that nobody disturbed:

- `killed`: one process, `kill -9` after half of the steps; weights, optimiser state and every step's loss must be
  equal to the last bit.
- `told to stop`: two processes, SIGTERM to one of them at random moments; after each both must have ended well, and
  left a checkpoint of one and the same step.
- `cut off`: two processes that write a checkpoint every 10 steps, both killed with `kill -9` at random moments; a
  checkpoint that was not finished must never be gone on from.

For two processes losses must agree with the undisturbed run of two to the last bit too. Any difference is an error.
Written: benchmarks/results/interruptions.json.
"""

import argparse
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.format_utils import _EmptyStateDictLoadPlanner
from torch.distributed.checkpoint.state_dict_loader import _load_state_dict
from transformers import PreTrainedTokenizerFast

from forked import fork, wait
from pmc_llama.environment import describe_environment
from pmc_llama.errors import Stopped
from pmc_llama.files import write_json
from pmc_llama.model.load import ModelOrigin
from pmc_llama.recipe.training import TrainSection
from pmc_llama.records.training import read_metrics
from pmc_llama.train.batches import IGNORE, Rows
from pmc_llama.train.checkpoint import folder_of, step_of, whole_checkpoints
from pmc_llama.train.loop import train

ROOT = Path(__file__).parents[1]
VOCABULARY, LENGTH, BATCH, ROWS = 96, 24, 8, 400
CONFIG = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": LENGTH,
}


class Source:
    """Rows that are shuffled anew in each epoch, so a wrong place in the data shows in the loss."""

    fingerprint = "interruptions"

    def __init__(self, steps: int) -> None:
        self.steps = steps
        ids = np.random.default_rng(0).integers(3, VOCABULARY, (ROWS, LENGTH))
        ids[:, 1::2] = (ids[:, ::2] * 5 + 1) % (VOCABULARY - 3) + 3  # something to learn
        self._ids = ids

    def rows(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        epoch, place = divmod(step, ROWS // BATCH)
        order = np.random.default_rng((1, epoch)).permutation(ROWS)
        ids = self._ids[order[place * BATCH : (place + 1) * BATCH][rank::world]]
        labels = ids.copy()
        labels[:, 0] = IGNORE
        return Rows(ids, np.tile(np.arange(LENGTH), (len(ids), 1)), labels)

    def coverage(self, step: int) -> float:
        return min(1.0, step * BATCH / ROWS)

    def coverage_by_source(self, step: int) -> dict[str, float]:
        return {}


def run(out: Path, steps: int, save_every: int) -> None:
    words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(VOCABULARY)}, unk_token="w0"))
    train(
        model=ModelOrigin(config=CONFIG),
        batches=Source(steps),
        options=TrainSection(
            lr=5e-3, global_batch=BATCH, micro_batch=BATCH, precision="fp32", save_every=save_every, weight_decay=0.1
        ),
        out=out,
        export_to=out / "model",
        tokenizer=PreTrainedTokenizerFast(tokenizer_object=words, bos_token="w1", eos_token="w2"),
        seed=0,
    )


def start(count: int, out: Path, steps: int, save_every: int) -> list[int]:
    """Processes of one run, which end with 0: done, or 3: stopped as asked."""

    def work(_: int) -> int:
        try:
            run(out, steps, save_every)
        except Stopped:
            return 3
        return 0

    return fork(count, work)


def wait_for(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.01)


def curve(out: Path) -> list[tuple[int, float, float]]:
    lines = read_metrics(out / "metrics.jsonl").steps
    return [(line.step, line.loss, line.grad_norm) for line in lines]


def state_of(out: Path, step: int) -> dict[str, Any]:
    """All tensors of a checkpoint: weights, moments, and what the guard remembers."""
    state: dict[str, Any] = {}
    reader = FileSystemReader(folder_of(out / "checkpoints", step))
    _load_state_dict(state, storage_reader=reader, planner=_EmptyStateDictLoadPlanner(), no_dist=True)
    return state


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        return [found for key in a for found in differences(a[key], b[key], f"{where}.{key}")]
    same = torch.equal(a.nan_to_num(), b.nan_to_num()) if isinstance(a, torch.Tensor) else a == b
    return [] if same else [where]


def compare(out: Path, straight: Path, steps: int) -> dict[str, Any]:
    """Raises where the two runs are not one and the same."""
    assert curve(out) == curve(straight), "losses differ"
    assert [step for step, _, _ in curve(out)] == list(range(1, steps + 1)), "a step is missing or there twice"
    wrong = differences(state_of(out, steps), state_of(straight, steps))
    assert not wrong, f"state differs: {wrong[:3]}"
    assert (out / "model/model.safetensors").read_bytes() == (straight / "model/model.safetensors").read_bytes()
    return {"steps": steps, "epochs": steps * BATCH / ROWS, "equal_to_the_bit": True}


def killed(out: Path, straight: Path, steps: int) -> dict[str, Any]:
    half = steps // 2
    first = start(1, out, steps, half)
    wait_for(lambda: bool(whole_checkpoints(out / "checkpoints")))
    os.kill(first[0], signal.SIGKILL)
    assert wait(first) == [-signal.SIGKILL]
    known = step_of(whole_checkpoints(out / "checkpoints")[-1])
    assert wait(start(1, out, steps, half)) == [0]
    return {"name": "killed", "processes": 1, "resumed_at": known, **compare(out, straight, steps)}


def disturb(out: Path, straight: Path, steps: int, moments: int, number: signal.Signals) -> dict[str, Any]:
    """Signals at random moments until there were `moments`, then to the end."""
    stop = number == signal.SIGTERM
    save_every, rng, resumed_at, unfinished = (steps if stop else 10), random.Random(0), [], 0
    metrics = out / "metrics.jsonl"
    for _ in range(moments):
        started = time.time()
        both = start(2, out, steps, save_every)
        wait_for(lambda since=started: metrics.exists() and metrics.stat().st_mtime > since)
        time.sleep(rng.uniform(0, 3))
        for child in [rng.choice(both)] if stop else both:
            os.kill(child, number)
        codes = wait(both)
        assert codes == ([3, 3] if stop else [-number, -number]), f"ended with {codes}: more steps are needed"
        whole = whole_checkpoints(out / "checkpoints")
        unfinished += len(list((out / "checkpoints").glob("step-*"))) - len(whole)
        resumed_at.append(step_of(whole[-1]) if whole else 0)
    assert wait(start(2, out, steps, save_every)) == [0, 0]
    name = "told to stop" if stop else "cut off"
    found = compare(out, straight, steps)
    return {"name": name, "processes": 2, "resumed_at": resumed_at, "unfinished_checkpoints": unfinished, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--moments", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, fewer = [], options.steps // 2  # two processes on one machine are slow
    with tempfile.TemporaryDirectory() as folder:
        one, two, last = (Path(folder) / name for name in ("one", "two", "last"))
        assert wait(start(1, one, options.steps, options.steps // 2)) == [0]
        assert wait(start(2, two, fewer, fewer)) == [0, 0]
        for row in (
            lambda: killed(last / "killed", one, options.steps),
            lambda: disturb(last / "stopped", two, fewer, options.moments, signal.SIGTERM),
            lambda: disturb(last / "cut", two, fewer, options.moments, signal.SIGKILL),
        ):
            rows.append(row())
            print(rows[-1], flush=True)
    environment = describe_environment()
    report = {"hardware": environment.hardware, "versions": environment.packages, "rows": rows}
    write_json(ROOT / "benchmarks/results/interruptions.json", report)


if __name__ == "__main__":
    main()
