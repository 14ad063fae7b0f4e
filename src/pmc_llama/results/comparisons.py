"""Two models on the same questions: seed by seed, over seeds, and with Holm's correction over a family of tests."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from math import lcm
from typing import Any, TypeVar

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from pmc_llama.errors import InputError
from pmc_llama.recipe.comparisons import Pair
from pmc_llama.records.primary import Primary
from pmc_llama.records.results import Difference, OverSeeds, Summary, fields
from pmc_llama.results.predictions import Cell
from pmc_llama.stats.intervals import share_interval, wilson
from pmc_llama.stats.multiplicity import holm
from pmc_llama.stats.seeds import seeds_by_items

R = TypeVar("R", bound=Difference | OverSeeds)
CellPair = tuple[Cell, Cell]
"""The answers of two models to the same questions."""


def pairs(found: Sequence[Cell], models: Pair) -> Iterator[CellPair]:
    """The answers of two models wherever both were asked, in the order of the cells.

    Raises InputError where the two answered different questions.
    """
    for _, group in groupby(found, key=lambda cell: (cell.regime, cell.task, cell.seed)):
        yield from _matched(list(group), models)


def _matched(asked: Sequence[Cell], models: Pair) -> Iterator[CellPair]:
    """The pairs among the cells of one regime, task and seed: each adapted model with its own or the only other."""
    firsts, seconds = ([cell for cell in asked if cell.model == name] for name in models)
    for first, second in ((first, second) for first in firsts for second in seconds if fit(first, second)):
        if first.question_ids != second.question_ids or not np.array_equal(first.gold, second.gold):
            where = f"regime {first.regime!r}, task {first.task!r}, seed {first.seed}"
            raise InputError(
                f"{where}: {first.model} and {second.model} must answer the same questions with the same gold, but "
                f"they answered {len(first.question_ids)} and {len(second.question_ids)}, or different ones"
            )
        yield first, second


def fit(first: Cell, second: Cell) -> bool:
    """Whether two cells are of one pre-training, as far as both depend on any."""
    return first.pretrain_seed is None or second.pretrain_seed in (None, first.pretrain_seed)


def differences(found: Sequence[Cell], compared: Sequence[Pair]) -> list[Difference]:
    """One row a comparison, regime, task, seed and adapted model; Holm over the tasks of what is alike in the rest."""
    rows = [_difference(*pair) for models in compared for pair in pairs(found, models)]
    return with_holm(
        rows,
        family=lambda row: (row.first, row.second, row.regime, row.seed, row.pretrain_seed),
        p=lambda row: row.mcnemar_p,
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
    shown = seeds_by_items(first.correct, second.correct, groups=first.groups)
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
        ci95=shown.ci95,
        mcnemar_p=shown.p,
        pretrain_seed=next((one for one in (second.pretrain_seed, first.pretrain_seed) if one is not None), UNSET),
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

    Differences are the second less the first. Where several adapted models were pre-trained these are the trainings,
    each with the mean over its tuning seeds. Raises InputError where not every training answered the same.
    """
    left, right = (_distinct(cells) for cells in zip(*paired, strict=True))
    rights = [right_per_question(cells) for cells in (left, right)]
    n, common = len(rights[0]), lcm(len(left), len(right))
    scaled = [total * (common // len(cells)) for total, cells in zip(rights, (left, right), strict=True)]
    cubes = [_by_training(cells) for cells in (left, right)]
    shown = seeds_by_items(*cubes, groups=left[0].groups)
    deltas, pretrainings = _deltas(*cubes), max(map(len, cubes))
    return OverSeeds(
        seeds=max(cube.shape[1] for cube in cubes),
        n=n,
        first_mean=float(rights[0].mean()) / len(left),
        first_ci95=mean_interval(rights[0], left),
        second_mean=float(rights[1].mean()) / len(right),
        second_ci95=mean_interval(rights[1], right),
        delta_mean=float((scaled[1] - scaled[0]).mean()) / common,
        delta_sd=float(np.std(deltas, ddof=1)) if len(deltas) > 1 else None,
        delta_min=min(deltas),
        delta_max=max(deltas),
        ci95=shown.ci95,
        p=shown.p,
        se=shown.se,
        df=shown.df,
        unit=shown.unit,
        pretrainings=pretrainings if pretrainings > 1 else UNSET,
    )


def mean_interval(right: NDArray[np.int64], cells: Sequence[Cell]) -> tuple[float, float]:
    """The interval over questions of a mean accuracy; `right` [N] of the cells answered each question right."""
    if cells[0].groups is None:
        return wilson(float(right.sum()) / len(cells), len(right))
    return share_interval(right / len(cells), cells[0].groups)


def _distinct(cells: Sequence[Cell]) -> list[Cell]:
    """Each cell once: one of the base is in a pair with each of several adapted models."""
    return list({id(cell): cell for cell in cells}.values())


def _by_training(found: Sequence[Cell]) -> NDArray[np.bool_]:
    """Correctness [pre-training seeds, tuning seeds, n]. Raises InputError where some of these are missing."""
    of: dict[int | None, list[Cell]] = {}
    for cell in found:
        of.setdefault(cell.pretrain_seed, []).append(cell)
    if len({tuple(cell.seed for cell in cells) for cells in of.values()}) > 1:
        raise InputError(
            f"regime {found[0].regime!r}, task {found[0].task!r}: the adapted models were not all tuned with the same "
            "seeds"
        )
    return np.array([[cell.correct for cell in cells] for cells in of.values()])


def _deltas(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> list[float]:
    """The difference of accuracies for each training of the outermost level that was repeated."""
    if max(len(first), len(second)) == 1:
        return [float(b.mean() - a.mean()) for a, b in zip(first[0], second[0], strict=True)]
    means = [cube.mean(axis=(1, 2)) for cube in (first, second)]
    return [float(delta) for delta in means[1] - means[0]]


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
