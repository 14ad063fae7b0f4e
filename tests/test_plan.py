"""The plan: measured memory, published cases, advice that would fit, and every recipe that we ship."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pmc_llama.errors import RecipeError
from pmc_llama.model.gpus import GPUS, asked_gpus
from pmc_llama.plan import RESERVED_BYTES, memory_of, plan, render, shape_of
from pmc_llama.recipe import load_recipe
from pmc_llama.recipe.training import LoraSection, TrainSection

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
WITH_TESTS = os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
SHAPE = {"num_attention_heads": 8, "num_key_value_heads": 8, "max_position_embeddings": 512}
MEASURED: list[dict[str, Any]] = [
    {
        "config": SHAPE | {"vocab_size": 32000, "hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 4},
        "options": {"micro_batch": 2, "seq_len": 256},
    },
    {
        "config": SHAPE | {"vocab_size": 4000, "hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 8},
        "options": {"micro_batch": 16, "seq_len": 256},
    },
    {
        "config": SHAPE | {"vocab_size": 4000, "hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 12},
        "options": {"micro_batch": 8, "seq_len": 256, "activation_checkpointing": "full"},
    },
]


ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def case(shape: str, layers: int, processes: int, lora: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    return {"shape": shape, "layers": layers, "processes": processes, "lora": lora, "options": options}


FAKE = {  # few of the layers, as each costs the same, at their real width
    "7B": case("huggyllama/llama-7b", 3, 8, micro_batch=4, activation_checkpointing="selective"),
    "7B, all kept": case("huggyllama/llama-7b", 3, 8, micro_batch=4),
    "7B, one process": case("huggyllama/llama-7b", 2, 1, micro_batch=1, seq_len=512, activation_checkpointing="full"),
    "8B at 8,192": case("meta-llama/Llama-3.1-8B", 2, 8, micro_batch=1, seq_len=8192, activation_checkpointing="full"),
    "13B": case("huggyllama/llama-13b", 3, 8, micro_batch=2, activation_checkpointing="selective"),
    "33B": case("huggyllama/llama-30b", 3, 16, micro_batch=1, activation_checkpointing="full"),
    "65B in groups": case(
        "huggyllama/llama-65b", 3, 32, micro_batch=1, activation_checkpointing="full", shard_processes=8
    ),
    "LoRA": case(
        "huggyllama/llama-7b", 3, 8, {"r": 16, "targets": ALL}, micro_batch=4, activation_checkpointing="selective"
    ),
    "LoRA of two": case("huggyllama/llama-7b", 3, 1, {"r": 8}, micro_batch=4, activation_checkpointing="full"),
    "QLoRA": case(
        "huggyllama/llama-7b", 3, 1, {"r": 16, "targets": ALL, "quantize": "nf4"}, micro_batch=4,
        activation_checkpointing="selective",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def fake_steps() -> dict[str, dict[str, float]]:
    command = [sys.executable, str(ROOT / "tests/emulated/fake_step.py"), json.dumps(list(FAKE.values()))]
    environment = {**os.environ, "PYTHONPATH": WITH_TESTS, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return {name: json.loads(line) for name, line in zip(FAKE, lines, strict=True)}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAKE)
def test_planned_memory_is_that_of_a_step_of_the_real_shape(fake_steps: dict[str, Any], name: str) -> None:
    found = fake_steps[name]
    assert found["planned"] == pytest.approx(found["measured"], rel=0.08), found


@pytest.mark.slow
@pytest.mark.parametrize("case", MEASURED, ids=["wide vocabulary", "many tokens", "deep, recomputed"])
def test_planned_memory_is_near_what_training_takes(case: dict[str, Any]) -> None:
    command = [sys.executable, str(ROOT / "tests/train/measure_memory.py"), json.dumps(case)]
    environment = {**os.environ, "PYTHONPATH": WITH_TESTS, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
    found = json.loads(done.stdout)
    assert found["planned"] == pytest.approx(found["measured"], rel=0.15), found


def test_full_tuning_of_7b_does_not_fit_one_80_gb_gpu_and_the_plan_says_what_would() -> None:
    recipe = load_recipe(ROOT / "recipes/pmc-llama-7b-v1.yaml")
    pretrain, full, peft, *_ = plan(recipe, "1xA100-80GB")
    states = pretrain.memory.weights + pretrain.memory.optimizer + pretrain.memory.gradients
    assert 16 * pretrain.parameters <= states <= 17 * pretrain.parameters, "16 bytes a parameter, and one block's"
    assert not pretrain.fits and not full.fits
    assert "2 of these GPUs" in pretrain.advice and "LoRA" in pretrain.advice
    assert peft.trained == 4_194_304 and peft.memory.optimizer == 8 * 4_194_304
    options = recipe.pretrain.model_copy(update={"activation_checkpointing": "full"})
    for lora, processes in ((None, 2), (LoraSection(), 1)):
        needed = memory_of(shape_of(recipe), options, lora, processes).total + RESERVED_BYTES
        assert needed <= GPUS["A100-80GB"].memory_bytes, "the advice must be true"
    assert "does not fit" in render([pretrain], "1xA100-80GB")


def test_speed_and_hours_agree_with_published_runs() -> None:
    recipe = load_recipe(ROOT / "recipes/pmc-llama-7b-v1.yaml")
    published = plan(recipe, "8xA100-80GB", mfu=0.31, tokens_per_epoch=2.46e9, usd_per_gpu_hour=2.0)[0]
    assert published.tokens_per_second / 8 == pytest.approx(2370, rel=0.05)  # PMC-LLaMA's 36 hours an epoch
    assert published.tokens == 5 * 2.46e9
    assert published.hours == pytest.approx(180, rel=0.05) and published.cost == pytest.approx(180 * 16, rel=0.05)
    options = TrainSection(seq_len=4096, micro_batch=1)
    assert options.seq_len == 4096
    longer = load_recipe(ROOT / "recipes/pmc-llama-7b-v1.yaml", ["pretrain.seq_len=4096"])
    best = plan(longer, "1xH100-80GB", mfu=0.475)[0]
    assert best.tokens_per_second == pytest.approx(9850, rel=0.05)  # OLMo-core's 7B at 4K


PUBLISHED = [  # docs/training.md says whose they are
    ("pmc-llama-7b", 4096, "H100-80GB", 0.475, 9850),
    ("pmc-llama-7b", 4096, "H100-80GB", 0.46, 9600),
    ("pmc-llama-7b", 4096, "A100-80GB", 0.68, 4550),
    ("pmc-llama-7b", 2048, "H100-80GB", 0.464, 10600),
    ("pmc-llama-13b", 4096, "H100-80GB", 0.43, 4850),
    ("pmc-llama-13b", 4096, "A100-80GB", 0.61, 2150),
    ("pmc-llama-13b", 4096, "H100-80GB", 0.415, 4500),
    ("llama-3.1-8b", 8192, "H100-80GB", 0.33, 5760),
    ("llama-3.1-8b", 8192, "H100-80GB", 0.39, 6670),
]


@pytest.mark.parametrize(("recipe", "length", "gpu", "mfu", "tokens_per_second"), PUBLISHED)
def test_speed_at_a_published_utilisation_is_the_published_speed(
    recipe: str, length: int, gpu: str, mfu: float, tokens_per_second: float
) -> None:
    loaded = load_recipe(ROOT / f"recipes/{recipe}.yaml", [f"pretrain.seq_len={length}"])
    assert plan(loaded, f"1x{gpu}", mfu=mfu)[0].tokens_per_second == pytest.approx(tokens_per_second, rel=0.06)


def test_lora_on_one_gpu_holds_the_base_once_and_in_four_bits_a_quarter_of_it() -> None:
    recipe = load_recipe(ROOT / "recipes/pmc-llama-7b-v1.yaml")
    config, lean = shape_of(recipe), recipe.pretrain.model_copy(update={"activation_checkpointing": "full"})
    whole = memory_of(config, lean, LoraSection(), 1)
    assert whole.weights + whole.gathered == pytest.approx(2 * 6.74e9, rel=0.01)
    assert whole.total + RESERVED_BYTES < 24e9, "so it fits a card of 24 GB"
    four_bits = memory_of(config, lean, LoraSection(quantize="nf4"), 1)
    assert four_bits.weights == pytest.approx(0.516 * 6.48e9 + 2 * 0.262e9, rel=0.01)


def test_more_processes_need_less_each() -> None:
    recipe = load_recipe(ROOT / "recipes/pmc-llama-65b.yaml")
    needed = [memory_of(shape_of(recipe), recipe.pretrain, None, processes).total for processes in (2, 8, 64)]
    assert needed == sorted(needed, reverse=True)


NAMES = {
    "A100-80GB": ("8xA100-80GB", "8x A100 80GB", "8 × NVIDIA A100-SXM4-80GB", "A100:8", "a100 x8", "A100 80GB PCIe"),
    "A100-40GB": ("8xA100-40GB", "NVIDIA A100-PCIE-40GB"),
    "H100-80GB": ("H100", "8*h100-80gb-hbm3", "NVIDIA H100 80GB HBM3", "H100 SXM5"),
    "H100-PCIe-80GB": ("NVIDIA H100 PCIe",),
    "H200-141GB": ("H200", "8×H200"),
    "GH200-96GB": ("GH200", "NVIDIA GH200 480GB"),
    "B200-180GB": ("NVIDIA B200", "b200"),
    "MI300X-192GB": ("MI300X", "8xMI300X", "AMD Instinct MI300X"),
    "L40S-48GB": ("L40S", "NVIDIA L40S"),
    "A6000-48GB": ("A6000", "NVIDIA RTX A6000", "rtx_a6000"),
    "RTX-3090-24GB": ("RTX 3090", "rtx3090", "3090"),
    "RTX-4090-24GB": ("2x RTX 4090", "NVIDIA GeForce RTX 4090", "8 4090", "RTX 4090 x2", "2x4090"),
    "RTX-5090-32GB": ("GeForce RTX 5090", "RTX-5090"),
}


@pytest.mark.parametrize("name", NAMES)
def test_gpus_are_known_in_any_spelling(name: str) -> None:
    for spelling in NAMES[name]:
        assert asked_gpus(spelling)[1] == GPUS[name], spelling
    assert asked_gpus("8 x NVIDIA A100-SXM4-80GB")[0] == asked_gpus("a100 x8")[0] == 8


def test_what_is_unknown_is_named_and_can_be_described() -> None:
    recipe = load_recipe(ROOT / "recipes/pmc-llama-7b.yaml")
    for wrong in ("8xA1000", "lots", "RTX 4090 Laptop GPU", "A10G", "RTX 3090 Ti", "A100 MIG 3g.40gb"):
        with pytest.raises(RecipeError, match=r"expected a number, x and one of A100-80GB.*--memory-gb and --tflops"):
            plan(recipe, wrong)
    with pytest.raises(RecipeError, match="above zero"):
        plan(recipe, "0xA100-80GB")
    number, own = asked_gpus("4xGaudi-3", memory_gb=128, tflops=1835)
    assert (number, own.memory_bytes, own.flops) == (4, 128 * 2**30, 1835e12)
    stage = plan(recipe, asked_gpus("4xGaudi-3", memory_gb=128))[0]
    assert stage.fits and stage.tokens_per_second is None
    with pytest.raises(RecipeError, match="its shape is not known"):
        plan(load_recipe(ROOT / "recipes/pmc-llama-7b.yaml", ["base.path=nobody/nothing"]), "1xA100-80GB")


def test_auto_is_what_this_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RecipeError, match="finds no GPU here"):
        asked_gpus("auto")
    device = SimpleNamespace(name="NVIDIA GeForce RTX 4090", total_memory=25_393_692_672)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: device)
    number, gpu = asked_gpus("auto")
    assert (number, gpu.flops, gpu.memory_bytes) == (2, 165.2e12, device.total_memory)


def test_a_percentage_is_a_percentage() -> None:
    recipe = load_recipe(ROOT / "recipes/pmc-llama-7b.yaml")
    assert plan(recipe, "8xA100-80GB", mfu=40) == plan(recipe, "8xA100-80GB", mfu=0.4)
    assert "MFU of 40%" in render(plan(recipe, "8xA100-80GB", mfu=40), "8xA100-80GB", 40)
    for wrong in (-1, 0, 101):
        with pytest.raises(RecipeError, match=r"share .* or a percentage"):
            plan(recipe, "8xA100-80GB", mfu=wrong)


def test_a_copy_in_each_group_needs_the_memory_of_a_group() -> None:
    recipe = load_recipe(ROOT / "recipes/pmc-llama-65b.yaml", ["pretrain.shard_processes=8"])
    grouped, alone = plan(recipe, "64xA100-80GB")[0], plan(recipe, "8xA100-80GB")[0]
    assert grouped.memory == alone.memory and not grouped.fits
    assert "shard_processes: null" in grouped.advice
    with pytest.raises(RecipeError, match="shard_processes 8 does not divide 12 GPUs"):
        plan(recipe, "12xA100-80GB")


def test_totals_say_hours_cost_and_disk_of_all_runs() -> None:
    recipe = load_recipe(ROOT / "recipes/pmc-llama-7b.yaml", ["seeds=[0, 1]", "regimes.full.max_steps=10"])
    stages = plan(recipe, "8xA100-80GB", tokens_per_epoch=1e9, usd_per_gpu_hour=2)
    pretrain, full = stages[:2]
    assert pretrain.runs == 1 and full.runs == 4, "two seeds of two models"
    assert full.hours == pytest.approx(4 * 10 * 128 * 2048 / full.tokens_per_second / 3600)
    parameters = 6_738_415_616
    assert pretrain.disk_bytes == parameters * (3 * 12 + 4) and pretrain.kept_bytes == parameters * (2 * 12 + 4)
    said = render(stages, "8xA100-80GB").splitlines()[-1]
    assert said.startswith("in all:") and f"${pretrain.cost + full.cost:,.0f}" in said
    assert "hours without those of peft" in said and "GB of disk" in said


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid_and_can_be_planned(path: Path) -> None:
    stages = plan(load_recipe(path), "64xA100-80GB")
    assert stages[0].stage == "pretrain" and all(stage.fits for stage in stages)


def test_what_needs_the_same_is_said_once() -> None:
    recipe = load_recipe(ROOT / "recipes" / "pmc-llama-7b.yaml")
    text = render(plan(recipe, "8xA100-80GB"), "8xA100-80GB")
    assert "\ndata_efficient_1, data_efficient_5, data_efficient_10, data_efficient_25," in text
    assert text.count("memory of a GPU") == 4  # pretrain, full, peft and all shares
    assert "hours a billion" in text
