"""The plan: measured memory, published cases, advice that would fit, and every recipe that we ship."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pmc_llama.errors import RecipeError
from pmc_llama.model.hardware import GPUS
from pmc_llama.plan import RESERVED_BYTES, memory_of, plan, render, shape_of
from pmc_llama.recipe import load_recipe
from pmc_llama.recipe.training import LoraSection, TrainSection

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
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


@pytest.mark.slow
@pytest.mark.parametrize("case", MEASURED, ids=["wide vocabulary", "many tokens", "deep, recomputed"])
def test_planned_memory_is_near_what_training_takes(case: dict[str, Any]) -> None:
    command = [sys.executable, str(ROOT / "tests/train/measure_memory.py"), json.dumps(case)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests"), "OMP_NUM_THREADS": "1"}
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


def test_unknown_hardware_and_models_are_named() -> None:
    recipe = load_recipe(ROOT / "recipes/pmc-llama-7b.yaml")
    for wrong in ("8xA1000", "0xA100-80GB", "lots"):
        with pytest.raises(RecipeError, match="expected a number, x and one of A100-40GB"):
            plan(recipe, wrong)
    with pytest.raises(RecipeError, match="its shape is not known"):
        plan(load_recipe(ROOT / "recipes/pmc-llama-7b.yaml", ["base.path=nobody/nothing"]), "1xA100-80GB")


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
