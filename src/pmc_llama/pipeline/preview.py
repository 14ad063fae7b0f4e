"""What the grid would do and what that costs: a line per cell, from what was measured in the run directory before."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median

from pmc_llama.errors import PmcLlamaError
from pmc_llama.experiment.cells import Cell, cells
from pmc_llama.experiment.tuning import TuningData
from pmc_llama.pipeline.questions import tested
from pmc_llama.pipeline.stage import Context
from pmc_llama.recipe import Recipe
from pmc_llama.records.stamps import answers_work, tuning_work
from pmc_llama.records.training import read_metrics
from pmc_llama.run_dir import RunDir, TrainingDir


@dataclass(frozen=True)
class Cost:
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


def grid_lines(context: Context, reasons: Mapping[str, str | None]) -> Iterator[str]:
    """What would be tuned and scored, and the sum; `reasons` tells why each piece of work would be done."""
    tuning, scoring = _tuning(context, reasons), _scoring(context, reasons)
    for cell, score in scoring.items():
        tuned = f"tune: {tuning[cell]}; " if cell in tuning else ""
        yield f"  {cell.name}: {tuned}score: {score}"
    for verb, work in (("tune", tuning), ("score", scoring)):
        todo = [one for one in work.values() if one.stale is not None]
        if work:
            known = [one.seconds for one in todo if one.seconds is not None]
            cost = about(sum(known)) if len(known) == len(todo) else about(None)
            yield f"  {verb}: {len(todo)} of {len(work)} models" + (f", {cost}" if todo else "")


def about(seconds: float | None) -> str:
    """A duration, roughly."""
    if seconds is None:
        return "time not known yet"
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def _tuning(context: Context, reasons: Mapping[str, str | None]) -> dict[Cell, Cost]:
    found, sizes = {}, _Sizes(context.recipe)
    for cell in cells(context.recipe):
        work = tuning_work(cell.name)
        if work not in reasons:
            continue
        reason = reasons[work]
        if reason is None:
            found[cell] = Cost(None)
            continue
        size, rate = sizes.of(cell), _tokens_per_second(context.recipe, context.run, cell)
        steps, tokens = size or (None, None)
        found[cell] = Cost(reason, steps, tokens, tokens / rate if tokens and rate else None)
    return found


def _scoring(context: Context, reasons: Mapping[str, str | None]) -> dict[Cell, Cost]:
    """A cell takes as long as it took before, or as the others of its regime, or as all others in the middle."""
    tasks = tested(context.recipe)
    took: dict[Cell, float] = {}
    for cell in cells(context.recipe):
        stamps = [context.stamps.of(answers_work(cell.name, task)) for task in tasks]
        if stamps and all(stamp is not None for stamp in stamps):
            took[cell] = sum(stamp.seconds or 0.0 for stamp in stamps if stamp is not None)
    found = {}
    for cell in cells(context.recipe):
        stale = {task: why for task in tasks if (why := reasons.get(answers_work(cell.name, task))) is not None}
        if not stale:
            found[cell] = Cost(None)
            continue
        alike = [seconds for other, seconds in took.items() if other.regime == cell.regime] or list(took.values())
        seconds = took.get(cell, median(alike) if alike else None)
        named = "" if len(stale) == len(tasks) else f"{', '.join(stale)}: "
        found[cell] = Cost(named + next(iter(stale.values())), seconds=seconds)
    return found


class _Sizes:
    """Steps and tokens of tuning runs, from the examples they would use; None where those cannot be read yet."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._data: TuningData | None = None
        self._found: dict[tuple[str, int, str | None], tuple[int, int] | None] = {}

    def of(self, cell: Cell) -> tuple[int, int] | None:
        key = cell.regime, cell.seed, cell.model if cell.model in self._recipe.models else None
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


def _tokens_per_second(recipe: Recipe, run: RunDir, cell: Cell) -> float | None:
    """The speed of this very cell before, of any other that trained as much of the model, or of pre-training."""
    lora = recipe.regimes[cell.regime].lora is not None
    trainings = run.trainings()
    own = run.tuning(cell.regime, cell.weights, cell.seed)
    alike = [
        run.tuning(other.regime, other.weights, other.seed)
        for other in cells(recipe)
        if recipe.regimes[other.regime].tuned and (recipe.regimes[other.regime].lora is not None) == lora
    ]
    full = [run.training("pretrain"), run.training("base")]
    for candidates in ([own], alike, [] if lora else full):
        rates = [rate for one in candidates if one in trainings.values() for rate in _rates(one)]
        if rates:
            return median(rates)
    return None


def _rates(training: TrainingDir) -> list[float]:
    """Tokens per second of each step that a metrics file holds."""
    return [step.tokens_per_second for step in read_metrics(training.metrics).steps if step.tokens_per_second]
