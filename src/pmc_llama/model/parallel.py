"""Activation checkpointing, compilation and FSDP2 of a model, in the one order that works."""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Literal

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from pmc_llama.model.attention.documents import BACKENDS
from pmc_llama.model.blocks import blocks_of, causal_lm

Recompute = Literal["none", "selective", "full"]

# What selective checkpointing keeps: results that are dear to compute again. All else is cheap element-wise work, and
# so is the product of an adapter's narrow waist with its wide second matrix.
CHEAP_INNER = 128
_PRODUCTS = {torch.ops.aten.mm.default, torch.ops.aten.addmm.default}
_KEPT = {
    *_PRODUCTS,
    *(operator for backend in BACKENDS.values() for operator in backend.saved_ops),
}


def parallelize(
    model: nn.Module,
    mesh: DeviceMesh,
    *,
    dtype: torch.dtype,
    recompute: Recompute = "none",
    compiled: bool = False,
    whole: Collection[nn.Parameter] = (),
) -> None:
    """Prepare `model` in place for training: recompute -> compile -> shard (one group a block, the rest at the root).

    Parameters stay what they are (fp32 where trained), are gathered as `dtype`, and gradients are reduced in fp32.
    Sharding is applied on one process too: a single code path. There weights are not freed between forward and
    backward, as freeing them would save nothing but the copy in `dtype`. Parameters in `whole` are left as they are.
    """
    lm = causal_lm(model)
    blocks = blocks_of(lm)
    for block in blocks:
        if recompute != "none":
            block.forward = recomputed(block.forward, recompute)
        if compiled:
            block.compile()
    options: dict[str, Any] = {
        "mesh": mesh,
        "mp_policy": MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32),
        "reshard_after_forward": mesh.size(mesh.ndim - 1) > 1,
        "ignored_params": set(whole),
    }
    if not lm.config.tie_word_embeddings:  # tied weights must stay in one group: the root
        fully_shard(lm.get_input_embeddings(), **options)
    for block in blocks:
        fully_shard(block, **options)
    fully_shard(model, **options)


def reshard(model: nn.Module) -> None:
    """Free the gathered weights after a forward pass that no backward pass follows."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def recomputed(forward: Callable[..., Any], recompute: Recompute) -> Callable[..., Any]:
    """`forward`, of whose results backward makes some anew. A plain function: the compiler passes over a `partial`."""
    settings: dict[str, Any] = {"use_reentrant": False}
    if recompute == "selective":
        settings["context_fn"] = partial(create_selective_checkpoint_contexts, _keep_products)

    def run(*args: Any, **kwargs: Any) -> Any:
        return checkpoint(forward, *args, **settings, **kwargs)

    return run


def _keep_products(_context: Any, operator: Any, *args: Any, **_kwargs: Any) -> CheckpointPolicy:
    if operator not in _KEPT:
        return CheckpointPolicy.PREFER_RECOMPUTE
    cheap = operator in _PRODUCTS and args[-1].shape[0] <= CHEAP_INNER
    return CheckpointPolicy.PREFER_RECOMPUTE if cheap else CheckpointPolicy.MUST_SAVE
