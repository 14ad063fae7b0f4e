"""The chunked loss is the plain one, gradients included; the optimiser's schedule is the one that is documented."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pmc_llama.recipe.training import OptimSection
from pmc_llama.train import loss as loss_module
from pmc_llama.train.loss import chunked_cross_entropy
from pmc_llama.train.optim import learning_rate


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(0, 9), chunk=st.integers(1, 12), trained=st.tuples(st.booleans(), st.booleans()))
def test_chunks_change_neither_loss_nor_gradients(rows: int, chunk: int, trained: tuple[bool, bool]) -> None:
    torch.manual_seed(rows)
    vocab, before = 11, loss_module.CHUNK_LOGITS["cpu"]
    hidden = torch.randn(rows, 6, requires_grad=trained[0])
    weight = torch.randn(vocab, 6, requires_grad=trained[1])
    targets = torch.randint(0, vocab, (rows,))
    loss_module.CHUNK_LOGITS["cpu"] = chunk * vocab
    try:
        ours = chunked_cross_entropy(hidden, weight, targets)
    finally:
        loss_module.CHUNK_LOGITS["cpu"] = before
    plain = F.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    torch.testing.assert_close(ours, plain)
    wanted = [tensor for tensor in (hidden, weight) if tensor.requires_grad]
    if wanted:
        mine, theirs = torch.autograd.grad(ours * 0.3, wanted), torch.autograd.grad(plain * 0.3, wanted)
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_nothing_to_predict_still_gives_gradients_of_zero() -> None:
    hidden, weight = torch.randn(0, 6, requires_grad=True), torch.randn(11, 6, requires_grad=True)
    total = chunked_cross_entropy(hidden, weight, torch.zeros(0, dtype=torch.int64))
    total.backward()
    assert total == 0 and weight.grad is not None and not weight.grad.any()


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        ("linear", [0.5, 1, 1, 0.8875, 0.775, 0.6625, 0.55, 0.4375, 0.325, 0.2125]),
        ("wsd", [0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        ("cosine", [0.5, 1, 1, 0.96575, 0.86820, 0.72221, 0.55, 0.37779, 0.23180, 0.13425]),
    ],
)
def test_learning_rates(schedule: str, expected: list[float]) -> None:
    options = OptimSection(lr=1.0, warmup=0.2, schedule=schedule, min_lr_ratio=0.1)
    assert [learning_rate(step, 10, options) for step in range(1, 11)] == pytest.approx(expected, abs=1e-5)


def test_wsd_falls_over_the_last_tenth() -> None:
    options = OptimSection(lr=1.0, warmup=0.0, schedule="wsd")
    rates = [learning_rate(step, 100, options) for step in range(1, 101)]
    assert rates[:91] == [1.0] * 91 and rates[91:] == pytest.approx([1 - k / 10 for k in range(1, 10)])


def test_v1_values_are_the_defaults() -> None:
    options = OptimSection()
    assert (options.lr, options.weight_decay, options.betas, options.eps) == (2e-5, 0.0, (0.9, 0.999), 1e-8)
    assert (options.clip, options.schedule, options.warmup, options.min_lr_ratio) == (1.0, "cosine", 0.03, 0.0)
