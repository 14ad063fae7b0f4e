"""What the grid would do and what that costs: a line a cell, from what was measured in the run directory before."""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from pmc_llama.errors import PmcLlamaError
from pmc_llama.experiment.regimes import Cell, origins, scoring_stamps, tune_folder, tuning_stamps
from pmc_llama.experiment.tuning import TuningData
from pmc_llama.recipe import Recipe
from pmc_llama.stamps import Stamp


@dataclass(frozen=True)
class Work:
    """One piece of work of a cell: why it must be done (None: it is up to date), and what it takes, where known."""

    stale: str | None
    steps: int | None = None
    tokens: int | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        if self.stale is None:
            return "up to date"
        parts = [f"would run: {self.stale}"]
        if self.steps is not None and self.tokens is not None:
            parts.append(f"{self.steps:,} steps, {self.tokens:,} tokens")
        return ", ".join([*parts, about(self.seconds)])


def grid_preview(recipe: Recipe, stamps: Mapping[str, Stamp], stale: Collection[str]) -> Iterator[str]:
    """What would be tuned and scored, and the sum; `stale` names the stages that would run before."""
    tuning, scoring = _tuning(recipe, stamps, stale), _scoring(recipe, stamps, stale)
    for cell, score in scoring.items():
        tuned = f"tune: {tuning[cell]}; " if cell in tuning else ""
        yield f"  {cell.name}: {tuned}score: {score}"
    for verb, work in (("tune", tuning), ("score", scoring)):
        todo = [one for one in work.values() if one.stale is not None]
        if work:
            known = [one.seconds for one in todo if one.seconds is not None]
            time = about(sum(known)) if len(known) == len(todo) else about(None)
            yield f"  {verb}: {len(todo)} of {len(work)} models" + (f", {time}" if todo else "")


def about(seconds: float | None) -> str:
    """A duration, roughly."""
    if seconds is None:
        return "time not known yet"
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def _tuning(recipe: Recipe, stamps: Mapping[str, Stamp], stale: Collection[str]) -> dict[Cell, Work]:
    found, sizes = {}, _Sizes(recipe)
    for cell, stamp in tuning_stamps(recipe, stamps).items():
        reason = _reason(cell, stamp, stale)
        if reason is None:
            found[cell] = Work(None)
            continue
        size, rate = sizes.of(cell), _tokens_per_second(recipe, cell)
        steps, tokens = size or (None, None)
        found[cell] = Work(reason, steps, tokens, tokens / rate if tokens and rate else None)
    return found


def _scoring(recipe: Recipe, stamps: Mapping[str, Stamp], stale: Collection[str]) -> dict[Cell, Work]:
    """A cell takes as long as it took before, or as the others of its regime, or as all others in the middle."""
    scored, tuned = scoring_stamps(recipe, stamps), tuning_stamps(recipe, stamps)
    took = {cell: stamp.seconds for cell, stamp in scored.items() if stamp.seconds is not None}
    found = {}
    for cell, stamp in scored.items():
        reason = _reason(cell, stamp, stale)
        if reason is None and cell in tuned and _reason(cell, tuned[cell], stale) is not None:
            reason = "its model is tuned anew"
        alike = [seconds for other, seconds in took.items() if other.regime == cell.regime] or list(took.values())
        seconds = took.get(cell, median(alike) if alike else None)
        found[cell] = Work(reason, seconds=seconds) if reason else Work(None)
    return found


def _reason(cell: Cell, stamp: Stamp, stale: Collection[str]) -> str | None:
    """Why a cell would run: its own reason, or a stage before it that would run."""
    return stamp.why_stale() or next((f"builds on {name}" for name in origins(cell) if name in stale), None)


class _Sizes:
    """Steps and tokens of tuning runs, from the examples they would use; None where those cannot be read yet."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._data: TuningData | None = None
        self._found: dict[tuple[str, int], tuple[int, int] | None] = {}

    def of(self, cell: Cell) -> tuple[int, int] | None:
        key = cell.regime, cell.seed
        if key not in self._found:
            try:
                self._data = self._data or TuningData(self._recipe)
                batches = self._data.batches(cell)
            except (PmcLlamaError, OSError):
                self._found[key] = None  # MiniMed's questions, say, before they are written
            else:
                length = sum(len(one.ids) for one in batches.examples) / len(batches.examples)
                self._found[key] = batches.steps, math.ceil(batches.presented * length)
        return self._found[key]


def _tokens_per_second(recipe: Recipe, cell: Cell) -> float | None:
    """The speed of this very cell before, of any other that trained as much of the model, or of pre-training."""
    lora = recipe.regimes[cell.regime].lora is not None
    alike = [
        other
        for name, regime in recipe.regimes.items()
        if regime.tuned and (regime.lora is not None) == lora
        for other in (recipe.run_path / "tune" / name).glob("*/*/train/metrics.jsonl")
    ]
    own = tune_folder(recipe, cell) / "train" / "metrics.jsonl"
    full = [recipe.run_path / "train" / name / "metrics.jsonl" for name in ("pretrain", "base")]
    for files in ([own], alike, [] if lora else full):
        rates = [rate for file in files for rate in _rates(file)]
        if rates:
            return median(rates)
    return None


def _rates(path: Path) -> list[float]:
    """Tokens per second of each step that a metrics file holds."""
    lines: list[Any] = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()] if path.is_file() else []
    return [line["tokens_per_second"] for line in lines if line.get("tokens_per_second")]
