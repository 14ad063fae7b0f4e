"""What writes answers in words: transformers here, vLLM in `backends/vllm.py`.

Decoding is always explicit: of the checkpoint's own generation settings only the tokens that end an answer count.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from pmc_llama.model.accepted import longest_with_fixed_positions
from pmc_llama.model.stops import end_ids
from pmc_llama.recipe.qa import GenerationSection

Prompts = Sequence[Sequence[int]]
"""Token ids of each prompt."""


class Writer(Protocol):
    """A model that writes after prompts."""

    max_length: int
    """Most tokens of a prompt and its answer together."""

    def write(
        self, prompts: Prompts, seeds: Sequence[int], how: GenerationSection
    ) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Yield each prompt's position with the `how.samples` texts written after it, in any order.

        Each prompt has a seed of its own, so that what is drawn does not depend on the other prompts.
        """


class TransformersWriter:
    """Generation by transformers: greedy in batches of similar length, drawing a question at a time."""

    def __init__(self, model: Any, tokenizer: Any, *, max_length: int | None = None, batch_tokens: int = 16384) -> None:
        from transformers import GenerationConfig

        self._end_ids = end_ids(model.generation_config.eos_token_id, tokenizer)
        # Else the checkpoint's settings fill in what ours leave open.
        model.generation_config = GenerationConfig(eos_token_id=self._end_ids)
        self._model, self._tokenizer, self._batch_tokens = model, tokenizer, batch_tokens
        self.max_length = max_length or int(model.config.max_position_embeddings)
        self._alike_up_to = longest_with_fixed_positions(model.config)  # beyond it, a prompt would change its batch

    def write(
        self, prompts: Prompts, seeds: Sequence[int], how: GenerationSection
    ) -> Iterator[tuple[int, tuple[str, ...]]]:
        """See `Writer`."""
        for batch in self._batches(prompts, how):
            written = self._write_batch([prompts[i] for i in batch], seeds[batch[0]], how)
            yield from zip(batch, written, strict=True)

    def _batches(self, prompts: Prompts, how: GenerationSection) -> list[list[int]]:
        """Indices of prompts that are written together."""
        if how.samples > 1:
            return [[i] for i in range(len(prompts))]
        batches: list[list[int]] = []
        for i in sorted(range(len(prompts)), key=lambda i: -len(prompts[i])):
            longest = len(prompts[batches[-1][0]]) + how.max_new_tokens if batches else 0
            alike = self._alike_up_to is None or longest <= self._alike_up_to
            if batches and alike and (len(batches[-1]) + 1) * longest <= self._batch_tokens:
                batches[-1].append(i)
            else:
                batches.append([i])
        return batches

    def _write_batch(self, prompts: Prompts, seed: int, how: GenerationSection) -> list[tuple[str, ...]]:
        import torch
        from transformers import GenerationConfig

        length, device = max(len(prompt) for prompt in prompts), self._model.device
        ids = torch.tensor([[0] * (length - len(prompt)) + [*prompt] for prompt in prompts], device=device)  # [B, T]
        mask = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
        drawn = {"do_sample": True, "temperature": how.temperature, "top_p": how.top_p, "top_k": 0}
        config = GenerationConfig(
            max_new_tokens=how.max_new_tokens,
            num_return_sequences=how.samples,
            eos_token_id=self._end_ids,
            pad_token_id=self._end_ids[0] if self._end_ids else 0,
            **(drawn if how.samples > 1 else {"do_sample": False}),
        )
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(seed)
            written = self._model.generate(ids, attention_mask=mask, generation_config=config)[:, length:]
        rows = [self._before_end(row) for row in written.tolist()]
        texts = self._tokenizer.batch_decode(rows, skip_special_tokens=True)
        return [tuple(texts[i : i + how.samples]) for i in range(0, len(texts), how.samples)]

    def _before_end(self, row: list[int]) -> list[int]:
        """What was written before the token that ended it, which need not be a special one."""
        return row[: next((i for i, token in enumerate(row) if token in self._end_ids), len(row))]
