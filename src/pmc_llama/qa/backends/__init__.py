"""What answers questions: one file a kind of model, under a name in `BACKENDS`; nothing is imported before it is used.

Begin reading at `base.py` (the protocol) and `folder.py` (models that are loaded here).
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from pmc_llama.qa.backends.base import Answer, Backend, Model, answers_key
from pmc_llama.recipe.qa import EvaluateSection

__all__ = ["BACKENDS", "Answer", "Backend", "Model", "answers_key", "backend_kind", "local_backend", "open_backend"]

BACKENDS = {
    "folder": "pmc_llama.qa.backends.folder:FolderBackend",
    "vllm": "pmc_llama.qa.backends.vllm:VllmBackend",
    "endpoint": "pmc_llama.qa.backends.endpoint:EndpointBackend",
    "predictions": "pmc_llama.qa.backends.predictions:PredictionsBackend",
}
"""Kinds of models by name: `module:Class`, where the class has `opened(model)` and is a `Backend`."""


def backend_kind(model: Model) -> str:
    """The name in `BACKENDS` of what asks a model."""
    if not model.section.local:
        return model.section.kind
    return "vllm" if model.evaluate.generation.engine == "vllm" else "folder"


def open_backend(model: Model) -> Backend:
    """The backend of a model."""
    return _class_of(backend_kind(model)).opened(model)  # type: ignore[no-any-return]


def local_backend(
    folder: Path | str, tokenizer: Any, evaluate: EvaluateSection, *, adapter: Path | None = None
) -> Backend:
    """The backend of a Hugging Face folder or hub id, with a LoRA adapter if it has one."""
    kind = "vllm" if evaluate.generation.engine == "vllm" else "folder"
    return _class_of(kind)(folder, tokenizer, evaluate, adapter=adapter)  # type: ignore[no-any-return]


def _class_of(kind: str) -> Any:
    module, name = BACKENDS[kind].split(":")
    return getattr(import_module(module), name)
