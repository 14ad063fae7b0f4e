"""What surrounds the steps: spikes left out, time limits, trackers, memory, utilisation."""

import gc
import platform
import subprocess
import sys
import types
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig

from pmc_llama.errors import RecipeError, Stopped, TrainingError
from pmc_llama.model.gpus import GPUS, known_gpu
from pmc_llama.model.hardware import all_parameters, flops_per_token, lora_parameters
from pmc_llama.model.load import ModelOrigin, build_model
from pmc_llama.model.precision import compute_dtype
from pmc_llama.recipe.training import LoraSection
from pmc_llama.records.training import read_metrics
from pmc_llama.train import loop, optim
from pmc_llama.train.batches import Rows
from pmc_llama.train.memory import dry_run
from pmc_llama.train.metrics import Speed
from pmc_llama.train.step import attach_loss
from pmc_llama.train.world import join_world
from train.tiny import CONFIG, Source, options, run, tokenizer


class Spiky(Source):
    """Random labels, of other texts, at one step."""

    def rows(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        rows = super().rows(step, rank, world)
        return Rows(rows.ids, rows.position_ids, (95 - rows.ids) if step == 30 else rows.labels)


def test_a_spike_is_left_out_and_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim, "SPIKE_WINDOW", 8)
    run(tmp_path, Spiky(steps=34, masked=0.0), skip_spikes=6.0, warmup=0)
    skipped = [line.step for line in read_metrics(tmp_path / "metrics.jsonl").steps if line.skipped]
    assert skipped == [31]


def test_the_guard_waits_until_it_knows_enough() -> None:
    guard = optim.Guard(torch.device("cpu"), 3.0)
    norm = torch.tensor(1.0)
    for step in range(1, optim.SPIKE_WINDOW + 1):
        assert not guard.judge(step, torch.tensor(2.0 + step % 2), norm)
    assert guard.judge(999, torch.tensor(5.0), norm)
    assert guard.judge(999, torch.tensor(1.0), torch.tensor(float("inf")))
    assert not optim.Guard(torch.device("cpu")).judge(1, torch.tensor(1e9), norm)


def test_a_time_limit_stops_as_a_signal_does(tmp_path: Path) -> None:
    run(tmp_path / "whole", Source(steps=6))
    with pytest.raises(Stopped, match="same command"):
        run(tmp_path / "limited", Source(steps=6), time_limit_s=1e-9)
    run(tmp_path / "limited", Source(steps=6), time_limit_s=1000)
    files = [tmp_path / name / "model/model.safetensors" for name in ("whole", "limited")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_trackers_get_every_step_and_absent_ones_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[tuple[int, dict[str, Any]]] = []
    service = types.ModuleType("trackio")
    service.init = lambda **_: None  # type: ignore[attr-defined]
    service.log = lambda values, step: got.append((step, values))  # type: ignore[attr-defined]
    service.finish = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trackio", service)
    run(tmp_path / "tracked", Source(steps=3), trackers=["trackio"], heldout={"x": Source(steps=1, seed=3)})
    assert [step for step, _ in got] == [0, 1, 2, 3, 3] and "heldout/x/perplexity" in got[0][1]
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(RecipeError, match="wandb is not installed"):
        run(tmp_path / "absent", Source(steps=3), trackers=["wandb"])


def test_chosen_checkpoints_are_kept_for_good(tmp_path: Path) -> None:
    run(tmp_path, Source(steps=9), save_every=2, keep_last=1, keep_every=4)
    assert [path.name[-1] for path in sorted((tmp_path / "checkpoints").iterdir())] == ["4", "8", "9"]


def test_too_little_memory_is_told_before_the_first_step_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with join_world() as world:
        net: Any = build_model(
            ModelOrigin(config=CONFIG), tokenizer=tokenizer(), mesh=world.mesh, device=world.device,
            dtype=torch.float32, seed=0,
        )  # fmt: skip
        attach_loss(net)
        optimizer = optim.build_optimizer(net, options())
        before = [parameter.full_tensor().clone() for parameter in net.parameters()]
        dry_run(net, optimizer, options(seq_len=32), world)
        for parameter, value in zip(net.parameters(), before, strict=True):
            assert parameter.grad is None and torch.equal(parameter.full_tensor(), value)
            state = optimizer.state[parameter]
            assert state["step"] == 0 and not state["exp_avg_sq"].full_tensor().any(), "allocated, and untouched"

        optimizer.state.clear()
        seen, whole = [], net.loss_sum

        def looks(batch: Any) -> torch.Tensor:
            seen.append((len(optimizer.state), any(one.grad is not None for one in net.parameters())))
            return whole(batch)

        monkeypatch.setattr(net, "loss_sum", looks)
        dry_run(net, optimizer, options(seq_len=32), world)
        assert seen == [(len(before), False), (len(before), True)], "moments from the start, and the first's gradients"

        def out_of_memory(_: Any) -> None:
            raise torch.OutOfMemoryError("tried to allocate 2 GiB")

        monkeypatch.setattr(net, "loss_sum", out_of_memory)
        with pytest.raises(TrainingError, match=r"4 rows of 32 tokens do not fit.*lower micro_batch"):
            dry_run(net, optimizer, options(seq_len=32), world)


def test_too_little_memory_in_a_later_step_is_a_sentence_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("tried to allocate 2 GiB\nand much more that nobody reads")

    monkeypatch.setattr(loop, "train_step", out_of_memory)
    with pytest.raises(TrainingError, match=r"do not fit this device: tried to allocate 2 GiB\. In this order") as told:
        run(tmp_path, Source(steps=2))
    assert "nobody reads" not in str(told.value)


@pytest.mark.parametrize("lora", [None, LoraSection(r=4)])
def test_models_are_freed_before_the_next_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lora: LoraSection | None
) -> None:
    run(tmp_path / "base", Source(1))
    made: list[weakref.ref[torch.Tensor]] = []
    build = loop._build

    def remembers(*arguments: Any) -> Any:
        net = build(*arguments)
        made.extend(weakref.ref(parameter) for parameter in net.parameters())
        return net

    monkeypatch.setattr(loop, "_build", remembers)
    gc.disable()  # it would come sometime, which is too late where the next model needs the memory
    try:
        run(tmp_path / "one", Source(2), ModelOrigin(path=tmp_path / "base" / "model"), lora=lora)
    finally:
        gc.enable()
    assert made and not [one for one in made if one() is not None]


def test_the_precision_that_is_asked_for_is_had_on_every_device() -> None:
    for kind in ("cpu", "cuda"):
        assert compute_dtype("bf16", torch.device(kind)) == torch.bfloat16
        assert compute_dtype("fp32", torch.device(kind)) == torch.float32, "the demo asks for it on GPUs, too"


FAULTS = """
import resource, torch
from pmc_llama.train.memory import keep_freed_memory

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**26)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed_memory()
for _ in range(16):
    page_faults()
print(page_faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked to keep memory")
def test_memory_of_one_step_is_there_for_the_next() -> None:
    # A process of its own, and some uses first: what lies in the heap decides when a block of this size fits again,
    # and glibc sets aside up to seven of an aligned block's leftovers before it joins them to the block.
    faults = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True).stdout
    assert int(faults) < 2**26 * 4 / 4096 / 10, "256 MiB mapped anew"


def test_shards_must_divide_the_processes() -> None:
    with pytest.raises(RecipeError, match="1 processes cannot be divided into groups of 2"), join_world(2):
        pass


def test_utilisation_is_told_on_known_devices_only() -> None:
    assert known_gpu("NVIDIA A100-SXM4-80GB") == GPUS["A100-80GB"]
    assert known_gpu("NVIDIA GH200 480GB", 143 * 2**30) == GPUS["GH200-144GB"]
    assert known_gpu("NVIDIA H100 PCIe") == GPUS["H100-PCIe-80GB"], "another peak"
    assert known_gpu("NVIDIA GeForce RTX 4090 Laptop GPU") is None
    assert known_gpu("AMD Instinct MI250X") is None
    assert Speed(1e9, None, 8).mfu(1e6) is None
    assert Speed(1e9, 1e14, 8).mfu(4e5) == pytest.approx(0.5)


def test_flops_and_parameters_follow_from_shapes() -> None:
    config = LlamaConfig(
        vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32
    )
    assert all_parameters(config) == 6_738_415_616
    matrices = 6_738_415_616 - 32000 * 4096 - 65 * 4096
    assert flops_per_token(config, 4096) == 6 * matrices + 12 * 32 * 4096 * 4096
    assert flops_per_token(config, 4096, frozen_base=True) == flops_per_token(config, 4096) * 4 / 6
    assert lora_parameters(config, 8, ["q_proj", "v_proj"]) == 4_194_304


def test_peak_memory_is_this_process_own() -> None:
    """What getrusage tells begins with the memory of the process that started this one."""
    held = bytearray(b"x") * (600 * 2**20)
    script = "from pmc_llama.train.memory import own_peak_bytes; print(own_peak_bytes())"
    peak = int(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)
    assert 50 * 2**20 < peak < len(held)
