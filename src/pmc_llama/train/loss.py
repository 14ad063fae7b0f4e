"""Next-token loss, summed over tokens, without ever holding the logits of a whole batch."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pmc_llama.model.lora import causal_lm
from pmc_llama.train.microbatch import MicroBatch

CHUNK_LOGITS = 2**24
"""Logits held at once (64 MiB in fp32): chunks of 524 tokens at a vocabulary of 32,000."""


def loss_sum(model: nn.Module, batch: MicroBatch) -> Tensor:
    """Sum of the cross-entropies of `batch.targets`, predicted from the hidden states at `batch.index`.

    Only positions that count are projected onto the vocabulary. Documents are isolated by the attention itself, which
    is told where they lie; there is neither mask nor cache.
    """
    lm = causal_lm(model)
    decoded = lm.get_decoder()(
        input_ids=batch.ids, position_ids=batch.position_ids, documents=batch.documents, use_cache=False
    )
    chosen = decoded.last_hidden_state.flatten(0, 1).index_select(0, batch.index)  # [N, D]
    return chunked_cross_entropy(chosen, lm.get_output_embeddings().weight, batch.targets)


def chunked_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Σ cross-entropy(hidden · weightᵀ, targets), in fp32; hidden [N, D], weight [V, D], targets [N]."""
    return _ChunkedCrossEntropy.apply(hidden, weight, targets)  # type: ignore[no-any-return, no-untyped-call]


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Gradients are made chunk by chunk in the forward pass, where the logits are at hand.

    So backward neither keeps nor recomputes them: three matrix products instead of four.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        rows = max(1, CHUNK_LOGITS // weight.shape[0])
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        d_hidden = torch.zeros_like(hidden) if ctx.needs_input_grad[0] else None
        d_weight = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        for start in range(0, len(hidden), rows):
            part, wanted = hidden[start : start + rows], targets[start : start + rows, None]
            log_p = F.log_softmax(part @ weight.T, dim=-1, dtype=torch.float32)  # [rows, V]
            total -= log_p.gather(1, wanted).sum()
            if d_hidden is None and d_weight is None:
                continue
            d_logits = log_p.exp_().scatter_add_(1, wanted, -torch.ones_like(wanted, dtype=torch.float32))
            d_logits = d_logits.to(hidden.dtype)
            if d_hidden is not None:
                torch.mm(d_logits, weight, out=d_hidden[start : start + rows])
            if d_weight is not None:
                d_weight += d_logits.T @ part
        ctx.save_for_backward(d_hidden, None if d_weight is None else d_weight.to(weight.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        d_hidden, d_weight = ctx.saved_tensors
        scale = grad[0]  # fp32 without dimensions: multiplies in fp32, and leaves the other's format as it is
        return (
            None if d_hidden is None else d_hidden * scale,
            None if d_weight is None else d_weight * scale,
            None,
        )
