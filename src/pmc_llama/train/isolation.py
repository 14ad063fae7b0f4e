"""The proof, on the loaded model itself, that packed documents do not see each other."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pmc_llama.errors import RecipeError
from pmc_llama.model.parallel import reshard
from pmc_llama.train.batches import IGNORE, Rows
from pmc_llama.train.microbatch import micro_batches
from pmc_llama.train.world import World

DOCUMENT_TOKENS = 12
TOLERANCE = 5e-3
"""Of the loss: what the order of two documents changes in bf16, whose products are otherwise the same."""


@torch.no_grad()
def prove_isolation(net: Any, world: World) -> None:
    """Raise RecipeError if a document's loss depends on its neighbour in the row, or on which of them comes first.

    Every process calls it alike. It costs three forward passes over 24 tokens.
    """
    rng = np.random.default_rng(0)
    vocabulary = net.get_input_embeddings().weight.shape[0]
    one, other, asked = rng.integers(0, vocabulary, (3, DOCUMENT_TOKENS))
    net.eval()
    with torch.compiler.set_stance("force_eager"):
        losses = [_loss(net, pair, asked, world) for pair in ((one, asked), (other, asked), (asked, one))]
    net.train()
    reshard(net)
    if max(losses) - min(losses) > TOLERANCE * abs(losses[0]):
        raise RecipeError(
            f"{net.config.architectures[0]}: the loss of a document of {DOCUMENT_TOKENS} tokens is "
            f"{', '.join(f'{loss / (DOCUMENT_TOKENS - 1):.4f}' for loss in losses)} per token beside three neighbours: "
            "packed documents see each other in this architecture, so it cannot be trained on packed rows"
        )


def _loss(net: Any, documents: tuple[NDArray[np.int64], ...], asked: NDArray[np.int64], world: World) -> float:
    """Summed over the tokens of the document `asked`."""
    ids = np.concatenate(documents)[None]
    positions = np.tile(np.arange(DOCUMENT_TOKENS), len(documents))[None]
    labels = np.concatenate([one if one is asked else np.full_like(one, IGNORE) for one in documents])[None]
    labels[positions == 0] = IGNORE
    batch = micro_batches(Rows(ids, positions, labels), 1, world.device)[0]
    return float(net.loss_sum(batch))
