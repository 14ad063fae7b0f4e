"""One update: forward and backward of every micro-batch, clipping, the guard, the optimizer."""

import types
from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import register_fsdp_forward_method

from pmc_llama.train.agreement import Totals
from pmc_llama.train.loss import loss_sum
from pmc_llama.train.microbatch import MicroBatch, empty_micro_batch
from pmc_llama.train.optim import Guard, clip_gradients, guarded_update
from pmc_llama.train.world import World


def attach_loss(net: Any, *, compiled: bool = False) -> None:
    """Give the sharded model the method `loss_sum`, before which its root's weights are gathered as before forward."""

    def bound(self: Any, batch: MicroBatch) -> Tensor:
        return loss_sum(self, batch, compiled=compiled)

    net.loss_sum = types.MethodType(bound, net)
    register_fsdp_forward_method(net, "loss_sum")


def train_step(
    net: Any,
    optimizer: torch.optim.AdamW,
    guard: Guard,
    batch: list[MicroBatch],
    totals: Totals,
    *,
    step: int,
    lr: float,
    clip: float,
    world: World,
) -> Tensor:
    """One update. Returns [3] on the device (nothing waits for it): loss, gradient norm, whether it was left out."""
    loss = forward_backward(net, batch, totals, world)
    norm = clip_gradients(net, clip)
    bad = guard.judge(step, loss, norm)
    guarded_update(optimizer, lr, bad)
    return torch.stack([loss, norm, bad])


def forward_backward(net: Any, batch: list[MicroBatch], totals: Totals, world: World) -> Tensor:
    """Gradients of the mean loss per token of the whole global batch; that loss, the same on every process.

    Sums are divided by the global count, so that neither the division into processes and micro-batches nor ragged
    labels matter; the factor of `world.size` undoes the averaging of the sharded reduction.
    """
    total = torch.zeros((), device=world.device)
    for number in range(totals.micro_batches):
        part = batch[number] if number < len(batch) else empty_micro_batch(world.device)
        last = number == totals.micro_batches - 1
        net.set_requires_all_reduce(last)  # between replicas, once
        if world.size == 1:  # nothing is shared: weights are gathered and gradients reduced once, too
            net.set_requires_gradient_sync(last)
            net.set_reshard_after_backward(last)
        loss = net.loss_sum(part)
        (loss * (world.size / totals.loss_tokens)).backward()
        total += loss.detach()
    return world.sum(total) / totals.loss_tokens
