"""Next-token loss, summed over tokens, without ever holding the logits of a whole batch."""

from collections.abc import Callable
from functools import cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pmc_llama.errors import RecipeError
from pmc_llama.model.accepted import longest_with_fixed_positions
from pmc_llama.model.blocks import causal_lm
from pmc_llama.model.memory import CHUNK_LOGITS
from pmc_llama.train.microbatch import MicroBatch


def loss_sum(model: nn.Module, batch: MicroBatch, *, compiled: bool = False) -> Tensor:
    """Sum of the cross-entropies of `batch.targets`, predicted from the hidden states at `batch.index`.

    Only positions that count are projected onto the vocabulary. Documents are isolated by the attention itself, which
    is told where they lie; there is neither mask nor cache.
    """
    lm = causal_lm(model)
    longest = longest_with_fixed_positions(lm.config)
    if longest is not None and batch.documents.longest > longest:
        raise RecipeError(
            f"a document of {batch.documents.longest} tokens: beyond {longest}, this model's RoPE takes other "
            "frequencies for all documents of its row; give a smaller seq_len"
        )
    decoded = lm.get_decoder()(
        input_ids=batch.ids, position_ids=batch.position_ids, documents=batch.documents, use_cache=False
    )
    chosen = decoded.last_hidden_state.flatten(0, 1).index_select(0, batch.index)  # [N, D]
    return chunked_cross_entropy(chosen, lm.get_output_embeddings().weight, batch.targets, compiled=compiled)


def chunked_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, *, compiled: bool = False) -> Tensor:
    """Σ cross-entropy(hidden · weightᵀ, targets), in fp32; hidden [N, D], weight [V, D], targets [N].

    `compiled` makes one pass over the logits of what are five otherwise.
    """
    return _ChunkedCrossEntropy.apply(hidden, weight, targets, compiled)  # type: ignore[no-any-return, no-untyped-call]


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Gradients are made chunk by chunk in the forward pass, where the logits are at hand.

    So backward neither keeps nor recomputes them: three matrix products instead of four.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, compiled: bool) -> Tensor:
        rows = max(1, CHUNK_LOGITS[hidden.device.type] // weight.shape[0])
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        d_hidden = torch.zeros_like(hidden) if ctx.needs_input_grad[0] else None
        d_weight = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        for start in range(0, len(hidden), rows):
            part, wanted = hidden[start : start + rows], targets[start : start + rows, None]
            logits = part @ weight.T  # [rows, V]
            if d_hidden is None and d_weight is None:
                total -= F.log_softmax(logits, dim=-1, dtype=torch.float32).gather(1, wanted).sum()
                continue
            loss, d_logits = (_compiled() if compiled else _cross_entropy)(logits, wanted)
            total += loss
            if d_hidden is not None:
                torch.mm(d_logits, weight, out=d_hidden[start : start + rows])
            if d_weight is not None:
                d_weight += d_logits.T @ part
        ctx.save_for_backward(d_hidden, None if d_weight is None else d_weight.to(weight.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        d_hidden, d_weight = ctx.saved_tensors
        scale = grad[0]  # fp32 without dimensions: multiplies in fp32, in place, as backward comes once
        return (
            None if d_hidden is None else d_hidden.mul_(scale),
            None if d_weight is None else d_weight.mul_(scale),
            None,
            None,
        )


def _cross_entropy(logits: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Σ −log p[wanted] in fp32, and its gradient in the logits' format; logits [rows, V], wanted [rows, 1]."""
    log_p = F.log_softmax(logits, dim=-1, dtype=torch.float32)
    log_p_wanted = log_p.gather(1, wanted)
    d_logits = log_p.exp_().to(logits.dtype)
    return -log_p_wanted.sum(), d_logits.scatter_(1, wanted, (log_p_wanted.exp() - 1).to(logits.dtype))


@cache
def _compiled() -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    return cast("Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]", torch.compile(_cross_entropy, dynamic=True))
