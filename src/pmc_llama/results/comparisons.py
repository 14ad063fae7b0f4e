"""Two models on the same questions: seed by seed, over seeds, and with Holm's correction over a family of tests."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pmc_llama.errors import InputError
from pmc_llama.recipe.comparisons import Pair
from pmc_llama.records.primary import Primary
from pmc_llama.records.results import Difference, OverSeeds, Summary, fields
from pmc_llama.results.predictions import Cell
from pmc_llama.stats.intervals import wilson
from pmc_llama.stats.multiplicity import holm
from pmc_llama.stats.paired import mcnemar_exact, paired_interval
from pmc_llama.stats.seeds import seeds_by_items

R = TypeVar("R", bound=Difference | OverSeeds)
CellPair = tuple[Cell, Cell]
"""The answers of two models to the same questions."""


def pairs(found: Sequence[Cell], models: Pair) -> Iterator[CellPair]:
    """The answers of two models wherever both were asked, in the order of the cells.

    Raises InputError where the two answered different questions.
    """
    for _, group in groupby(found, key=lambda cell: (cell.regime, cell.task, cell.seed)):
        cell = {each.model: each for each in group}
        if not all(name in cell for name in models):
            continue
        first, second = (cell[name] for name in models)
        if first.question_ids != second.question_ids or not np.array_equal(first.gold, second.gold):
            where = f"regime {first.regime!r}, task {first.task!r}, seed {first.seed}"
            raise InputError(
                f"{where}: {first.model} and {second.model} must answer the same questions with the same gold, but "
                f"they answered {len(first.question_ids)} and {len(second.question_ids)}, or different ones"
            )
        yield first, second


def differences(found: Sequence[Cell], compared: Sequence[Pair]) -> list[Difference]:
    """One row a comparison, regime, task and seed; Holm over the tasks of one comparison, regime and seed."""
    rows = [_difference(*pair) for models in compared for pair in pairs(found, models)]
    return with_holm(
        rows, family=lambda row: (row.first, row.second, row.regime, row.seed), p=lambda row: row.mcnemar_p
    )


def summaries(found: Sequence[Cell], compared: Sequence[Pair], primary: Primary | None = None) -> list[Summary]:
    """One row a comparison, regime and task; see `summaries_of`."""
    return summaries_of([(models, list(pairs(found, models))) for models in compared], primary)


def summaries_of(answers: Sequence[tuple[Pair, list[CellPair]]], primary: Primary | None = None) -> list[Summary]:
    """One row a pair of models, regime and task; Holm over the tasks of one pair and regime.

    The rows of the primary question are marked, and corrected among themselves, as the others are.
    """
    rows = [row for models, paired in answers for row in _rows(paired, models)]
    for row in rows:
        row.primary = primary is not None and (
            (row.first, row.second) == primary.comparison and row.regime == primary.regime and row.task in primary.tasks
        )
    return with_holm(rows, family=lambda row: (row.first, row.second, row.regime, row.primary), p=lambda row: row.p)


def _difference(first: Cell, second: Cell) -> Difference:
    n = len(first.gold)
    b = int((first.correct & ~second.correct).sum())
    c = int((~first.correct & second.correct).sum())
    return Difference(
        first=first.model,
        second=second.model,
        regime=first.regime,
        task=first.task,
        seed=first.seed,
        n=n,
        b=b,
        c=c,
        delta=(c - b) / n,
        ci95=paired_interval(n, b, c),
        mcnemar_p=mcnemar_exact(b, c),
    )


def _rows(paired: list[CellPair], models: Pair) -> Iterator[Summary]:
    seeds_of: dict[tuple[str, str], list[CellPair]] = {}
    for first, second in paired:
        seeds_of.setdefault((first.regime, first.task), []).append((first, second))
    for (regime, task), seeds in seeds_of.items():
        about: dict[str, Any] = {"first": models[0], "second": models[1], "protocol": seeds[0][1].protocol}
        yield Summary(regime=regime, task=task, **about, **fields(over_seeds(seeds)))


def over_seeds(paired: list[CellPair]) -> OverSeeds:
    """Two models on the same questions over seeds; interval and p hold the luck of both (`stats.seeds`).

    Differences are the second less the first.
    """
    seeds = len(paired)
    left, right = (right_per_question(list(cells)) for cells in zip(*paired, strict=True))
    n = len(left)
    shown = seeds_by_items([first.correct for first, _ in paired], [second.correct for _, second in paired])
    deltas = [float(second.correct.mean() - first.correct.mean()) for first, second in paired]
    return OverSeeds(
        seeds=seeds,
        n=n,
        first_mean=float(left.mean()) / seeds,
        first_ci95=wilson(float(left.sum()) / seeds, n),
        second_mean=float(right.mean()) / seeds,
        second_ci95=wilson(float(right.sum()) / seeds, n),
        delta_mean=float((right - left).mean()) / seeds,
        delta_sd=float(np.std(deltas, ddof=1)) if seeds > 1 else None,
        delta_min=min(deltas),
        delta_max=max(deltas),
        ci95=shown.ci95,
        p=shown.p,
        se=shown.se,
        df=shown.df,
        unit=shown.unit,
    )


def right_per_question(seeds: Sequence[Cell]) -> NDArray[np.int64]:
    """In how many seeds each question was answered right [N]. Raises InputError where seeds saw other questions."""
    if any(cell.question_ids != seeds[0].question_ids for cell in seeds):
        raise InputError(f"regime {seeds[0].regime!r}, task {seeds[0].task!r}: the seeds answered different questions")
    return np.asarray(np.sum([cell.correct for cell in seeds], axis=0), dtype=np.int64)


def with_holm(rows: list[R], *, family: Callable[[R], object], p: Callable[[R], float]) -> list[R]:
    """Set `holm_p` of each row: its p adjusted for all rows of the same family."""
    members: dict[object, list[R]] = {}
    for row in rows:
        members.setdefault(family(row), []).append(row)
    for group in members.values():
        for row, adjusted in zip(group, holm([p(row) for row in group]), strict=True):
            row.holm_p = adjusted
    return rows
