"""Local models whose written answers come from vLLM, in this process; likelihoods are those of `folder.py`."""

from typing import Any

from torch import distributed

from pmc_llama.errors import RecipeError
from pmc_llama.model.folders import local_folder
from pmc_llama.model.stops import end_ids_of
from pmc_llama.qa.backends.folder import FolderBackend, free_memory
from pmc_llama.qa.writers import VllmWriter, Writer


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
