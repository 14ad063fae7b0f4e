"""AdamW, its weight-decay groups, its learning rate as a pure function of the step, and the guarded update."""

import math

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from pmc_llama.recipe.training import OptimSection

SPIKE_WINDOW = 128
WSD_DECAY_SHARE = 0.1
"""Share of all steps over which `wsd` (warm-up, stable, decay) falls at the end."""


def build_optimizer(model: nn.Module, options: OptimSection) -> torch.optim.AdamW:
    """Fused AdamW over what is trained; norms and biases do not decay. Build it before any forward pass."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": options.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=options.lr, betas=options.betas, eps=options.eps, fused=True)


def learning_rate(step: int, steps: int, options: OptimSection) -> float:
    """The learning rate of the update that leads to `step` (1 … steps): linear warm-up, then the schedule.

    The update after the warm-up has the full rate, and the first that never comes would have the lowest.
    """
    steps = round(steps * options.schedule_stretch)
    warmup = round(options.warmup * steps)
    if step <= warmup:
        return options.lr * step / warmup
    if options.schedule == "constant":
        return options.lr
    if options.schedule == "wsd":
        warmup = max(warmup, steps - max(1, round(WSD_DECAY_SHARE * steps)))
    progress = max(0, step - 1 - warmup) / (steps - warmup)
    share = 0.5 * (1 + math.cos(math.pi * progress)) if options.schedule == "cosine" else 1 - progress
    return options.lr * (options.min_lr_ratio + (1 - options.min_lr_ratio) * share)


def clip_gradients(model: nn.Module, limit: float) -> Tensor:
    """Scale the gradients so that their norm is at most `limit`; the norm before that, over all processes."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    norm = nn.utils.clip_grad_norm_(trained, limit)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


class Guard:
    """Decides on the device, without waiting for it, which updates must not be applied."""

    def __init__(self, device: torch.device, spike_deviations: float | None = None) -> None:
        self.losses = torch.full((SPIKE_WINDOW,), math.nan, device=device)
        """The last losses, as a ring; part of every checkpoint."""
        self._deviations = spike_deviations

    def judge(self, step: int, loss: Tensor, norm: Tensor) -> Tensor:
        """Whether (a bool on the device) the step is not finite, or its loss far above the last `SPIKE_WINDOW` ones."""
        bad = ~torch.isfinite(loss + norm)
        if self._deviations is not None:
            limit = self.losses.mean() + self._deviations * self.losses.std()  # NaN, so never above, until it is full
            bad |= loss > limit
            self.losses[step % SPIKE_WINDOW] = loss
        return bad


def guarded_update(optimizer: torch.optim.AdamW, lr: float, bad: Tensor) -> None:
    """One update with learning rate `lr`, which leaves weights and state as they are where `bad` (a bool) is true.

    The choice is made by the fused kernel on the device, so the host does not wait for it; the two attributes are how
    torch's own GradScaler tells fused optimizers.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.grad_scale, optimizer.found_inf = None, bad.float()  # type: ignore[attr-defined]
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
