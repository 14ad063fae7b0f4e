"""What makes two calls the same run: its data, its model, and every setting that changes the result."""

import hashlib
from pathlib import Path
from typing import Any

import torch

from pmc_llama.files import sha256_bytes, sha256_json
from pmc_llama.model.load import ModelOrigin, local_folder
from pmc_llama.model.weights import weight_files
from pmc_llama.recipe.training import LoraSection, TrainSection
from pmc_llama.records.training import TrainSummary, read_finished
from pmc_llama.run_dir import TrainingDir

COUNT_AS_RESOLVED = {"precision", "epochs", "max_steps"}
"""Settings that count by what follows from them, the numbers' type and the steps."""
TAIL_BYTES = 2**20
Identity = dict[str, Any]
"""JSON values by name; a checkpoint with others is of another run."""


def identity_of(
    model: ModelOrigin,
    data: str,
    options: TrainSection,
    lora: LoraSection | None,
    *,
    seed: int,
    steps: int,
    dtype: torch.dtype,
) -> Identity:
    """JSON-able values; a checkpoint or summary with others is of another run."""
    known = TrainSection.model_fields.keys() - COUNT_AS_RESOLVED  # what a kind of section adds stands in `data`
    settings = {key: value for key, value in options.settings("tuning").items() if key in known}
    return {
        "model": sha256_json(model.config) if model.path is None else _fingerprint(local_folder(model.path)),
        "data": data,
        "steps": steps,
        "seed": seed,
        "precision": str(dtype).removeprefix("torch."),
        "lora": None if lora is None else lora.model_dump(mode="json", exclude_none=True),
        **settings,
    }


def finished_summary(out: Path, identity: Identity, export_to: Path) -> TrainSummary | None:
    """The summary of this very run, if it has been finished and its export is there."""
    found = read_finished(TrainingDir(out).summary) if export_to.is_dir() else None
    return found.summary if found is not None and found.identity == identity else None


def _fingerprint(folder: Path) -> str:
    """Hash of config.json and of each weight file's name, size and last MiB: quick for 100 GB, and tells runs apart."""
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("config.json"), *weight_files(folder)]):
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(0, size - TAIL_BYTES))
            digest.update(f"{path.name} {size} {sha256_bytes(file.read())}\n".encode())
    return digest.hexdigest()
