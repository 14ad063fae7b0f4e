"""What runs on GPUs, on a CPU: the same losses and weights as there, whatever is recomputed and trained."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emulated.flash_on_cpu import as_on_gpus
from pmc_llama.model.attention import Documents, attend
from pmc_llama.model.load import ModelOrigin
from pmc_llama.recipe.training import LoraSection
from pmc_llama.records.training import read_metrics
from train.tiny import CONFIG, Source, run

CPU = torch.device("cpu")


def losses(out: Path) -> list[float | None]:
    return [line.loss for line in read_metrics(out / "metrics.jsonl").steps]


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("documents", [1, 7, 64, 200])
def test_attention_by_bounds_is_attention_by_groups(documents: int, window: int | None) -> None:
    rng = np.random.default_rng(documents)
    lengths = rng.integers(1, 6, documents) if documents > 1 else [90]
    positions = np.concatenate([np.arange(length) for length in lengths])[None]
    drawn = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, heads, positions.size, 8, generator=drawn, requires_grad=True) for heads in (4, 2, 2))
    found = []
    for emulated in (False, True):
        with as_on_gpus() if emulated else torch.enable_grad():
            where = Documents.of(positions, CPU)
            out, _ = attend(torch.nn.Identity(), q, k, v, None, documents=where, sliding_window=window)
            found.append((out, *torch.autograd.grad(out.square().sum(), (q, k, v))))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    out = tmp_path_factory.mktemp("bases")
    for tied in (False, True):
        run(out / str(tied), Source(1), ModelOrigin(config={**CONFIG, "tie_word_embeddings": tied}))
    return {tied: out / str(tied) / "model" for tied in (False, True)}


@pytest.mark.parametrize(
    ("recompute", "lora", "tied"),
    [("none", False, False), ("selective", False, True), ("full", True, False), ("selective", True, True)],
)
def test_training_in_the_form_of_gpus_has_the_same_losses(
    tmp_path: Path, base: dict[bool, Path], recompute: str, lora: bool, tied: bool
) -> None:
    more: dict[str, Any] = {"lora": LoraSection(r=4, dropout=0.1)} if lora else {}
    heldout = {"other": Source(1, seed=9)}
    run(tmp_path / "cpu", Source(8), ModelOrigin(path=base[tied]), heldout=heldout, **more)
    with as_on_gpus() as calls:
        options = {"activation_checkpointing": recompute, "save_every": 4}
        run(tmp_path / "gpu", Source(8), ModelOrigin(path=base[tied]), heldout=heldout, **options, **more)
    layers, steps = CONFIG["num_hidden_layers"], 8
    assert calls["backward"] == layers * steps * 2, "two micro-batches a step"
    again = layers * steps * 2 if recompute == "full" else 0
    assert calls["forward"] - again == layers * (steps * 2 + 3 + 2 * 2), "selective keeps what attention gave"
    np.testing.assert_allclose(losses(tmp_path / "gpu"), losses(tmp_path / "cpu"), rtol=1e-5)


def test_fp32_trains_on_gpus_through_matrix_products() -> None:
    """Flash kernels have no fp32: the demo's recipe asks for it, and must not fail where a GPU is."""
    with as_on_gpus() as calls:
        documents = Documents.of(np.arange(24)[None], CPU)
        assert list(documents.layouts) == ["flash"]
        q = torch.randn(1, 2, 24, 8, dtype=torch.float64)
        out, _ = attend(torch.nn.Identity(), q, q, q, None, documents=documents)
    assert out.dtype == torch.float64 and calls["forward"] == 0
