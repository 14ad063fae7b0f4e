"""Packed documents do not see each other, and attention inside each of them is the plain one."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, LlamaConfig

from pmc_llama.errors import RecipeError
from pmc_llama.model import attention
from pmc_llama.model.attention import Documents, attend, products

CPU = torch.device("cpu")


def position_ids(rows: list[list[int]]) -> np.ndarray:
    """Rows of documents of the given lengths."""
    return np.stack([np.concatenate([np.arange(length) for length in row]) for row in rows]).astype(np.int64)


def separately(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, rows: list[list[int]], window: int | None = None
) -> torch.Tensor:
    """Each document alone through torch's own attention; [B, H, T, D] -> [B, T, H, D]."""
    out = []
    for row, lengths in enumerate(rows):
        parts = [x[row : row + 1].split(lengths, dim=2) for x in (q, k, v)]
        heads = [
            F.scaled_dot_product_attention(*part, attn_mask=sees(part[0].shape[2], window), enable_gqa=True)
            for part in zip(*parts, strict=True)
        ]
        out.append(torch.cat(heads, 2))
    return torch.cat(out).transpose(1, 2)


def sees(length: int, window: int | None) -> torch.Tensor:
    """Which keys each query sees: those before it, and of those the last `window` with itself; [length, length]."""
    back = torch.arange(length)[:, None] - torch.arange(length)
    return (back >= 0) & (back < (window or length))


@st.composite
def packings(draw: st.DrawFn) -> list[list[int]]:
    """1 to 3 rows of one length, cut into documents anywhere."""
    length = draw(st.integers(1, 90))
    rows = []
    for _ in range(draw(st.integers(1, 3))):
        cuts = sorted(draw(st.sets(st.integers(1, length), max_size=6)) | {0, length})
        rows.append([int(value) for value in np.diff(cuts)])
    return rows


@settings(max_examples=40, deadline=None)
@given(
    rows=packings(),
    tile=st.sampled_from([7, 32, 256]),
    shared=st.sampled_from([1, 2]),
    window=st.sampled_from([None, 1, 5, 20, 64]),
)
def test_every_document_attends_to_itself_alone(
    rows: list[list[int]], tile: int, shared: int, window: int | None
) -> None:
    torch.manual_seed(0)
    batch, length, before = len(rows), sum(rows[0]), products.TILE
    q = torch.randn(batch, 4, length, 8, requires_grad=True)
    k, v = (torch.randn(batch, 4 // shared, length, 8, requires_grad=True) for _ in range(2))
    products.TILE = tile
    try:
        documents = Documents.of(position_ids(rows), CPU)
        ours, _ = attend(torch.nn.Identity(), q, k, v, None, documents=documents, sliding_window=window)
        wanted = separately(q, k, v, rows, window)
        torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5)
        direction = torch.randn_like(wanted)
        mine = torch.autograd.grad((ours * direction).sum(), (q, k, v))
    finally:
        products.TILE = before
    theirs = torch.autograd.grad((wanted * direction).sum(), (q, k, v))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def llama(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, use_cache=False,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config, attn_implementation=kind).eval().requires_grad_(False)


@pytest.mark.parametrize("kind", [attention.NAME, "sdpa", "eager"])
def test_packed_logits_are_separate_logits_in_a_whole_model(kind: str) -> None:
    model, alone = llama(kind), llama("eager")
    rows = [[5, 11, 1, 23], [40]]
    positions = position_ids(rows)
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 50, positions.shape))
    extra = {"documents": Documents.of(positions, CPU)} if kind == attention.NAME else {}
    packed = model(input_ids=ids, position_ids=torch.from_numpy(positions), **extra).logits
    for row, lengths in enumerate(rows):
        for part, logits in zip(ids[row].split(lengths), packed[row].split(lengths), strict=True):
            torch.testing.assert_close(alone(input_ids=part[None]).logits[0], logits, rtol=0, atol=1e-5)


def test_what_it_cannot_do_it_refuses_by_name() -> None:
    q = torch.zeros(1, 2, 6, 4)
    documents = Documents.of(position_ids([[6]]), CPU)
    cases = {
        "dropout": {"dropout": 0.1},
        "softcap": {"softcap": 30.0},
        "s_aux": {"s_aux": torch.zeros(2)},
        "no causal mask": {},
        "2 heads over 3 heads": {"key": torch.zeros(1, 3, 6, 4)},
    }
    for words, wrong in cases.items():
        module = torch.nn.Identity()
        module.is_causal = words != "no causal mask"
        with pytest.raises(RecipeError, match=words):
            attend(module, q, wrong.pop("key", q), q, None, documents=documents, **wrong)
    with pytest.raises(RecipeError, match="not told by its model where packed documents lie"):
        attend(torch.nn.Identity(), q, q, q, None)


@pytest.mark.parametrize("shared", [1, 2])
def test_torch_knows_the_call_that_gpus_get(shared: int) -> None:
    """Shapes only: the operators of GPUs are called on the meta device, backward included."""
    q = torch.empty(2, 4, 40, 64, dtype=torch.bfloat16, device="meta", requires_grad=True)
    k, v = (torch.empty_like(q[:, ::shared]).requires_grad_() for _ in range(2))
    documents = Documents(40, 40, {"flash": torch.empty(64, dtype=torch.int32, device="meta")})
    out, _ = attend(torch.nn.Identity(), q, k, v, None, documents=documents, scaling=0.125)
    assert out.shape == (2, 40, 4, 64) and out.dtype == torch.bfloat16
    gradients = torch.autograd.grad(out, (q, k, v), torch.empty_like(out))
    assert [gradient.shape for gradient in gradients] == [q.shape, k.shape, v.shape]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="variable-length attention needs a CUDA GPU")
def test_cuda_attends_like_the_cpu() -> None:
    rows = [[5, 11, 1, 23], [40]]
    q, k, v = (torch.randn(2, heads, 40, 64) for heads in (4, 2, 2))
    cuda = torch.device("cuda")
    documents = Documents.of(position_ids(rows), cuda)
    moved = (x.to(cuda, torch.bfloat16) for x in (q, k, v))
    ours, _ = attend(torch.nn.Identity(), *moved, None, documents=documents, scaling=64**-0.5)
    torch.testing.assert_close(ours.cpu().float(), separately(q, k, v, rows), rtol=0.05, atol=0.03)
