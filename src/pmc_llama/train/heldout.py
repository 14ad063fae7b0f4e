"""Loss and perplexity on text that training never sees."""

from collections.abc import Mapping
from typing import Any

import torch

from pmc_llama.model.parallel import reshard
from pmc_llama.records.training import Measured
from pmc_llama.train.batches import BatchSource
from pmc_llama.train.metrics import perplexity
from pmc_llama.train.microbatch import empty_micro_batch, micro_batches
from pmc_llama.train.world import World


@torch.no_grad()
def measure(model: Any, sources: Mapping[str, BatchSource], micro_batch: int, world: World) -> dict[str, Measured]:
    """Loss of each source by its name, the same on every process; the mean per token."""
    model.eval()
    results = {}
    for name, source in sources.items():
        sums = torch.zeros(2, dtype=torch.float64, device=world.device)
        for step in range(source.steps):
            batches = micro_batches(source.rows(step, world.rank, world.size), micro_batch, world.device)
            most = max(row[0] for row in world.gather([len(batches)]))
            for batch in batches + [empty_micro_batch(world.device)] * (most - len(batches)):
                sums[0] += model.loss_sum(batch)
                sums[1] += len(batch.targets)
        total, tokens = world.sum(sums).tolist()
        if tokens:
            results[name] = Measured(total / tokens, perplexity(total / tokens), int(tokens))
    reshard(model)
    model.train()
    return results
