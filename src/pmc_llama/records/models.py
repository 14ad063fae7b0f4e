"""What is known of a model that was asked, for tables of models."""

from pathlib import Path

import msgspec

from pmc_llama.files import read_record


class ModelFacts(msgspec.Struct, frozen=True):
    """One model. What cannot be known from here is None."""

    kind: str
    """`folder`, `vllm`, `endpoint` or `predictions`."""
    where: str
    """Folder, hub id, URL or file."""
    revision: str | None = None
    """Commit of a hub id; the model's name at an endpoint, or in a file of predictions."""
    parameters: int | None = None
    """Numbers in its weight files."""
    dtype: str | None = None
    """Number format in which it is asked."""
    tokenizer_sha256: str | None = None
    """Hash of what turns texts into its ids."""
    asked: str | None = None
    """How an endpoint's answers came about, which it decides by what it offers; None before it was asked."""


def read_models(path: Path) -> dict[str, ModelFacts]:
    """A run's `models.json`: its models by name; none where there is no such file."""
    return read_record(path, dict[str, ModelFacts]) if path.is_file() else {}
