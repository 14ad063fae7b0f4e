"""Whether what a run writes fits the disk."""

import shutil
from collections.abc import Iterator, Set
from pathlib import Path

from pmc_llama.corpus.items import plan_items
from pmc_llama.errors import PmcLlamaError
from pmc_llama.experiment.cells import tuned_cells
from pmc_llama.model.weights import weight_files
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.inputs import base_model_path

CORPUS_SHARE = 0.3
"""Bytes of Parquet and staged papers per byte of input, at least; S2ORC's shards are gzip, and a third has a PMC id."""
TOKENS_SHARE = 0.1
"""Bytes of token ids per byte of input, at least."""
EXPORT_BYTES = 4
"""Per weight: exported models are fp32."""
CHECKPOINT_BYTES = 12
"""Per weight: fp32 weight and AdamW's two moments."""
GIB = 2**30


def space_problems(recipe: Recipe, stages: Set[str]) -> Iterator[str]:
    """A disk that is clearly too small."""
    need = estimated_bytes(recipe, stages)
    place = next(path for path in (recipe.run_path, *recipe.run_path.resolve().parents) if path.is_dir())
    free = shutil.disk_usage(place).free
    if need > free:
        yield (
            f"run_dir: {recipe.run_dir} would hold at least {need / GIB:,.1f} GiB, and {free / GIB:,.1f} GiB are free "
            f"there"
        )


def estimated_bytes(recipe: Recipe, stages: Set[str]) -> float:
    """A lower bound of what these stages write.

    Corpora and tokens: CORPUS_SHARE and TOKENS_SHARE of the inputs. Models, with N weights: N x EXPORT_BYTES for the
    adapted one and each fully tuned one, and N x CHECKPOINT_BYTES for the checkpoints that one training run keeps.
    """
    total = 0.0
    if stages & {"general", "extra", "corpus"}:
        total += (CORPUS_SHARE + TOKENS_SHARE) * _input_bytes(recipe)
    weights = _weights(recipe)
    if "pretrain" in stages:
        kept = recipe.pretrain.keep_last if recipe.pretrain.save_every is not None else 1
        total += weights * (EXPORT_BYTES + CHECKPOINT_BYTES * kept) * len(recipe.pretrain_seeds)
    if "finetune" in stages:
        full = [cell for cell in tuned_cells(recipe) if recipe.regimes[cell.regime].lora is None]
        total += weights * EXPORT_BYTES * len(full)
    return total


def _input_bytes(recipe: Recipe) -> int:
    try:
        items = [item for section in recipe.corpora.values() for item in plan_items(section, recipe.data_root)]
    except PmcLlamaError:
        return 0  # told by another check, or written later
    return sum(item.size_bytes for item in items)


def _weights(recipe: Recipe) -> int:
    """Weights of a base that is on this machine; two bytes each, as most are published."""
    path = Path(base_model_path(recipe))
    if not path.is_dir():
        return 0
    return sum(file.stat().st_size for file in weight_files(path) if file.is_file()) // 2
