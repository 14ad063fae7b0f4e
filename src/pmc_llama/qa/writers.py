"""What writes answers in words: transformers, or vLLM where a GPU is.

Decoding is always explicit: of the checkpoint's own generation settings only the tokens that end an answer count.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from pmc_llama.errors import PmcLlamaError
from pmc_llama.model.stops import end_ids
from pmc_llama.recipe.qa import GenerationSection

Prompts = Sequence[Sequence[int]]
"""Token ids of each prompt."""
_AT_ONCE = 1024
"""Prompts that vLLM is given together: enough to keep it busy, few enough to keep results as they come."""


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

        from pmc_llama.model.accepted import longest_with_fixed_positions  # not what vLLM's environment needs

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


class VllmWriter:
    """Generation by vLLM, for a Hugging Face folder and, where it was tuned so, a LoRA adapter of it."""

    def __init__(
        self,
        folder: Path | str,
        *,
        adapter: Path | None = None,
        precision: Literal["auto", "bf16", "fp32"] = "auto",
        max_length: int | None = None,
        stop_ids: Sequence[int] = (),
    ) -> None:
        """`stop_ids`: tokens that end an answer besides the tokenizer's own end-of-text token."""
        try:
            from vllm import LLM  # type: ignore[import-not-found, unused-ignore]
            from vllm.lora.request import LoRARequest  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            raise PmcLlamaError(
                "`evaluate.generation.engine: vllm` needs the extra `vllm`: pip install 'pmc-llama[vllm]'"
            ) from None
        lora = {} if adapter is None else {"enable_lora": True, "max_lora_rank": _rank(adapter)}
        dtype = {"auto": "auto", "bf16": "bfloat16", "fp32": "float32"}[precision]
        self._llm = LLM(model=str(folder), dtype=dtype, max_model_len=max_length, generation_config="vllm", **lora)
        self._stop_ids = list(stop_ids)
        self._lora = None if adapter is None else LoRARequest("adapter", 1, str(adapter))
        self.max_length = int(self._llm.llm_engine.model_config.max_model_len)

    def write(
        self, prompts: Prompts, seeds: Sequence[int], how: GenerationSection
    ) -> Iterator[tuple[int, tuple[str, ...]]]:
        """See `Writer`."""
        from vllm import SamplingParams

        drawn: dict[str, Any] = {"temperature": how.temperature, "top_p": how.top_p}
        if how.samples == 1:
            drawn = {"temperature": 0.0}
        drawn |= {"n": how.samples, "max_tokens": how.max_new_tokens, "stop_token_ids": self._stop_ids}
        settings = [SamplingParams(seed=seed, **drawn) for seed in seeds]
        for start in range(0, len(prompts), _AT_ONCE):
            asked = [{"prompt_token_ids": list(prompt)} for prompt in prompts[start : start + _AT_ONCE]]
            outputs = self._llm.generate(asked, settings[start : start + _AT_ONCE], lora_request=self._lora)
            for i, output in enumerate(outputs, start):
                yield i, tuple(one.text for one in output.outputs)


def _rank(adapter: Path) -> int:
    """The adapter's LoRA rank, rounded up to what vLLM has kernels for."""
    from pmc_llama.files import read_json

    rank = int(read_json(adapter / "adapter_config.json")["r"])
    return next(size for size in (8, 16, 32, 64, 128, 256, 320, 512) if size >= rank)
