"""Local models whose written answers come from vLLM, in this process; likelihoods are those of `folder.py`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import distributed

from pmc_llama.errors import PmcLlamaError, RecipeError
from pmc_llama.files import read_json
from pmc_llama.model.folders import local_folder
from pmc_llama.model.stops import end_ids_of
from pmc_llama.qa.backends.folder import FolderBackend, free_memory
from pmc_llama.qa.writers import Prompts, Writer
from pmc_llama.recipe.qa import GenerationSection

_AT_ONCE = 1024
"""Prompts that vLLM is given together: enough to keep it busy, few enough to keep results as they come."""


class VllmBackend(FolderBackend):
    """A local model of which vLLM or transformers holds the whole GPU, whichever was asked last."""

    kind = "vllm"

    def _for_scoring(self) -> Any:
        if self._model is None and self._writer is not None:
            self._writer = None
            free_memory()
        return super()._for_scoring()

    def _for_writing(self) -> Writer:
        if self._writer is None:
            if distributed.is_initialized() and distributed.get_world_size() > 1:
                raise RecipeError("`evaluate.generation.engine: vllm` has workers of its own: start one process only")
            self._model = None
            free_memory()
            self._writer = VllmWriter(
                self._folder,
                adapter=self._adapter,
                precision=self._evaluate.precision,
                max_length=self._evaluate.max_length,
                stop_ids=end_ids_of(local_folder(self._folder), self._tokenizer),
            )
        return self._writer


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
    rank = int(read_json(adapter / "adapter_config.json")["r"])
    return next(size for size in (8, 16, 32, 64, 128, 256, 320, 512) if size >= rank)
