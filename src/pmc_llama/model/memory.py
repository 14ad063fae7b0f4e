"""Peak memory of one process in training, from shapes alone: what `plan` and `doctor` say.

A step is at its peak in one of three places: at its loss, where the activations of all blocks and the logits are there;
in the backward pass of the last block, which is computed again; or at its end, where its gradients are whole.
"""

from dataclasses import dataclass, replace
from typing import Any

from pmc_llama.model.attention.flash import FLASH
from pmc_llama.model.attention.products import PRODUCTS
from pmc_llama.model.hardware import all_parameters, linear_shapes, lora_parameters
from pmc_llama.recipe.training import LoraSection, TrainSection

NF4_BYTES = 0.516
"""A parameter in 4 bits, and its share of the scales (quantised themselves: 8 bits for 64 parameters, and a little)."""
HEAP_GAPS = 1.2
"""Memory between activations on CPUs, where freed blocks are kept (`train.memory.keep_freed_memory`)."""
CHUNK_LOGITS = {"cpu": 2**24, "cuda": 2**27}
"""Logits that the loss holds at once (64 MiB and 512 MiB in fp32): 524 and 4,194 tokens at a vocabulary of 32,000.

Each chunk adds to the gradient of the whole projection, which is [V, D] in fp32: few chunks cost less time.
"""
CHUNK_BYTES_PER_LOGIT = {"cpu": 10, "cuda": 8}
"""Logits and their gradient in bf16, log-probabilities in fp32; on CPUs the logits in fp32 as well, for a moment."""
WORKING = 10.5
"""Bytes a token and unit of the MLP's width that the backward pass of a block holds besides what was kept."""


@dataclass(frozen=True)
class Memory:
    """Peak memory of one process, by part, in bytes."""

    weights: float
    """What is trained in fp32, a frozen base in bf16; sharded."""
    optimizer: float
    """Two fp32 moments a trained parameter; sharded."""
    gradients: float
    """fp32, sharded, and those of one block before they are."""
    gathered: float
    """bf16 weights gathered for computing: of blocks and the projection, or all on a single process."""
    activations: float
    loss: float
    """One chunk of logits, and the head's gradient."""

    @property
    def total(self) -> float:
        """Sum of all parts."""
        return float(sum(vars(self).values()))


def memory_of(
    config: Any, options: TrainSection, lora: LoraSection | None, processes: int, *, cuda: bool = True
) -> Memory:
    """Peak memory of one of `processes` (bf16 compute, fp32 master weights and moments).

    A copy of the model is sharded over `options.shard_processes` of them where that is set.
    """
    held = _Held(config, lora, min(processes, options.shard_processes or processes))
    phases = _phases(config, options, held, _Activations(config, options, lora, cuda=cuda), cuda=cuda)
    if not cuda:  # the heap keeps what it freed, in pieces that the next place seldom takes
        return Memory(**{part: max(vars(phase)[part] for phase in phases) for part in vars(phases[0])})
    return max(phases, key=lambda memory: memory.total)


def _phases(
    config: Any, options: TrainSection, held: "_Held", per_token: "_Activations", *, cuda: bool
) -> tuple[Memory, Memory, Memory]:
    """Memory at the three places where a step may be at its peak."""
    tokens, kind = options.micro_batch * options.seq_len, "cuda" if cuda else "cpu"
    gaps = 1.0 if cuda else HEAP_GAPS
    kept = gaps * tokens * config.num_hidden_layers * per_token.kept
    again = gaps * tokens * (per_token.whole - per_token.kept + WORKING * config.intermediate_size)
    chunk = CHUNK_BYTES_PER_LOGIT[kind] * min(CHUNK_LOGITS[kind], tokens * config.vocab_size)
    at_loss = Memory(
        weights=held.weights,
        optimizer=2 * held.trained,
        gradients=held.trained,
        gathered=held.gathered_at_loss,
        activations=kept + gaps * tokens * 12 * config.hidden_size,
        loss=chunk + 6 * held.head_trained,
    )
    in_last_block = replace(
        at_loss,
        gradients=held.trained + held.block_trained,
        gathered=held.gathered_in_backward,
        activations=kept + again,
        loss=4 * held.head_trained,
    )
    at_end = replace(in_last_block, gradients=held.trained + 6 * held.block_trained, activations=kept)
    return at_loss, in_last_block, at_end


class _Held:
    """Bytes of weights, and what the gradients of one block and of the head need, in parameters."""

    def __init__(self, config: Any, lora: LoraSection | None, shards: int) -> None:
        total = all_parameters(config)
        trained = total if lora is None else lora_parameters(config, lora.r, lora.targets)
        embedding = config.vocab_size * config.hidden_size
        outside = embedding * (1 if config.tie_word_embeddings else 2)
        block = (total - outside) / config.num_hidden_layers
        quantized = lora is not None and lora.quantize is not None
        self.trained = 4 * trained / shards
        """What is trained, in fp32, sharded; as large are its gradients and each of two moments."""
        self.weights = self.trained
        if lora is not None:
            self.weights += NF4_BYTES * (total - outside) + 2 * outside if quantized else 2 * total / shards
        self.block_trained = 0.0 if lora is not None else block
        self.head_trained = 0 if lora is not None else embedding
        gathered = 0.0 if quantized else 2 * block  # a block's; those of a 4-bit base are whole on each process
        root = 0.0 if quantized else 2 * embedding
        self.gathered_at_loss = 2 * trained if shards == 1 else gathered + root
        self.gathered_in_backward = 2 * trained if shards == 1 else 2 * gathered


class _Activations:
    """What transformers' LLaMA block keeps for backward, in bytes per token."""

    def __init__(self, config: Any, options: TrainSection, lora: LoraSection | None, *, cuda: bool) -> None:
        d, f = config.hidden_size, config.intermediate_size
        shapes = linear_shapes(config)
        q, kv = shapes["q_proj"][1], shapes["k_proj"][1]
        attention = 2 * q + (FLASH if cuda else PRODUCTS).activation_bytes(
            q, kv, config.num_attention_heads, options.seq_len
        )
        if lora is None:
            whole = 2 * 8 * d + attention + 8 * f  # of each norm: fp32, bf16, its product; gate, silu, up, product
        else:
            masks = 3 if lora.dropout else 2  # the adapter's own input, and which of it was left out
            inputs = sum(masks * shapes[name][0] for name in lora.targets if name in shapes)
            whole = 2 * 4 * d + attention + 6 * f + inputs
        products = 2 * sum(out for _, out in shapes.values())
        kept = {"none": whole, "selective": 2 * d + products + 2 * q + 4 * config.num_attention_heads, "full": 2 * d}
        self.kept = float(kept[options.activation_checkpointing])
        """In each block."""
        self.whole = float(whole)
        """In the block whose backward pass is going on, where what was not kept is computed again."""
