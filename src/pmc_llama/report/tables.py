"""`predictions.parquet` becomes `results.json`: every accuracy with its interval, every difference with its test."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pmc_llama.errors import InputError
from pmc_llama.files import write_json
from pmc_llama.qa.question import LETTERS
from pmc_llama.records.primary import Primary
from pmc_llama.records.results import Accuracy, Baseline, Difference, OverSeeds, Results, Summary, fields
from pmc_llama.report.predictions import Cell, cells, read_predictions
from pmc_llama.stats.calibration import UNPARSED_BRIER, ece, ece_floor, ece_interval, with_unparsed
from pmc_llama.stats.intervals import wilson
from pmc_llama.stats.macro_f1 import macro_f1, macro_f1_interval
from pmc_llama.stats.multiplicity import holm
from pmc_llama.stats.paired import mcnemar_exact, paired_interval
from pmc_llama.stats.seeds import seeds_by_items

R = TypeVar("R", bound=Difference | OverSeeds)


def compute_results(
    predictions: Path,
    out: Path,
    contaminated: Mapping[str, Collection[str]] | None = None,
    *,
    made_from: Mapping[str, str] | None = None,
    primary: Primary | None = None,
    original: Sequence[tuple[Cell, Cell]] = (),
) -> Results:
    """Write `results.json` from `predictions.parquet` and return its value.

    `rows`: one a model, regime, seed and task. `comparisons`: base against adapted on the same questions, one a regime,
    task and seed (b = only the base is right, c = only the adapted is; delta = adapted − base; Holm over the tasks of
    one regime and seed). `summary`: the same over seeds, one a regime and task; those of the question `primary`
    are marked, and are a family of their own. `uncontaminated`: the summary without the questions of `contaminated`
    (ids by task), for the tasks that have any. `original`: the summary of these pairs of answers. `baselines`: what
    needs no model.
    Raises InputError for predictions that are incomplete or contradict themselves.
    """
    answers = read_predictions(predictions)
    found = list(cells(answers))
    paired = list(pairs(found))
    results = Results(
        rows=[_row(cell) for cell in found],
        comparisons=_comparisons(paired),
        summary=_summary(paired, primary),
        original=_summary(list(original), primary),
        uncontaminated=_uncontaminated(answers, contaminated or {}),
        baselines=_baselines(found),
        made_from=dict(made_from or {}),
    )
    write_json(out, results)
    return results


def _row(cell: Cell) -> Accuracy:
    n, correct = len(cell.gold), int(cell.correct.sum())
    return Accuracy(
        model=cell.model,
        regime=cell.regime,
        seed=cell.seed,
        task=cell.task,
        protocol=cell.protocol,
        n=n,
        correct=correct,
        accuracy=correct / n,
        ci95=wilson(correct, n),
        macro_f1=macro_f1(cell.gold, cell.chosen),
        macro_f1_ci95=macro_f1_interval(cell.gold, cell.chosen),
        **_calibration(cell),
        parse_rate=float(np.mean(cell.chosen >= 0)),
        truncated=cell.truncated,
        ties=cell.ties,
    )


def _calibration(cell: Cell) -> dict[str, Any]:
    """Calibration where any parsed answer has probabilities; unparsed answers were sure and wrong."""
    answered, unparsed = ~np.isnan(cell.confidence), int((cell.chosen < 0).sum())
    if cell.brier is None or not answered.any():
        return {}
    confidence, correct = with_unparsed(cell.confidence[answered], cell.correct[answered], unparsed)
    squares = cell.brier * int(answered.sum()) + UNPARSED_BRIER * unparsed
    return {
        "ece": ece(confidence, correct),
        "ece_ci95": ece_interval(confidence, correct),
        "ece_floor": ece_floor(confidence),
        "brier": squares / len(confidence),
    }


def pairs(found: list[Cell]) -> Iterable[tuple[Cell, Cell]]:
    """Base and adapted answers to the same questions, in the order of the cells.

    Raises InputError where the two answered different questions.
    """
    for _, group in groupby(found, key=lambda cell: (cell.regime, cell.task, cell.seed)):
        cell = {each.model: each for each in group}
        if len(cell) < 2:
            continue
        base, adapted = cell["base"], cell["adapted"]
        if base.question_ids != adapted.question_ids or not np.array_equal(base.gold, adapted.gold):
            where = f"regime {base.regime!r}, task {base.task!r}, seed {base.seed}"
            raise InputError(
                f"{where}: base and adapted must answer the same questions with the same gold, but they answered "
                f"{len(base.question_ids)} and {len(adapted.question_ids)}, or different ones"
            )
        yield base, adapted


def _comparisons(paired: list[tuple[Cell, Cell]]) -> list[Difference]:
    rows = [_comparison(base, adapted) for base, adapted in paired]
    return with_holm(rows, family=lambda row: (row.regime, row.seed), p=lambda row: row.mcnemar_p)


def _comparison(base: Cell, adapted: Cell) -> Difference:
    n = len(base.gold)
    b = int((base.correct & ~adapted.correct).sum())
    c = int((~base.correct & adapted.correct).sum())
    return Difference(
        regime=base.regime,
        task=base.task,
        seed=base.seed,
        n=n,
        b=b,
        c=c,
        delta=(c - b) / n,
        ci95=paired_interval(n, b, c),
        mcnemar_p=mcnemar_exact(b, c),
    )


def _summary(paired: list[tuple[Cell, Cell]], primary: Primary | None = None) -> list[Summary]:
    """One row a regime and task; those of the primary question are corrected among themselves, as the others are."""
    asked = set() if primary is None else {(primary.regime, task) for task in primary.tasks}
    seeds_of: dict[tuple[str, str], list[tuple[Cell, Cell]]] = {}
    for base, adapted in paired:
        seeds_of.setdefault((base.regime, base.task), []).append((base, adapted))
    rows = [
        Summary(
            regime=regime,
            task=task,
            protocol=seeds[0][0].protocol,
            primary=(regime, task) in asked,
            **fields(over_seeds(seeds)),
        )
        for (regime, task), seeds in seeds_of.items()
    ]
    return with_holm(rows, family=lambda row: (row.regime, row.primary), p=lambda row: row.p)


def _uncontaminated(answers: pl.DataFrame, contaminated: Mapping[str, Collection[str]]) -> list[Summary]:
    """The summary of what is left of each task that has questions in the papers; Holm over all tasks of the regime."""
    if not contaminated:
        return []
    hit = pl.DataFrame(
        [(task, one) for task, ids in contaminated.items() for one in ids], ["task", "question_id"], orient="row"
    )
    clean = answers.join(hit, on=["task", "question_id"], how="anti", maintain_order="left")
    if not len(clean):
        return []
    return [row for row in _summary(list(pairs(list(cells(clean))))) if row.task in contaminated]


def over_seeds(paired: list[tuple[Cell, Cell]]) -> OverSeeds:
    """Two models on the same questions over seeds; interval and p hold the luck of both (`stats.seeds`).

    Differences are the second less the first.
    """
    seeds = len(paired)
    left, right = (_right_per_question(list(cells)) for cells in zip(*paired, strict=True))
    n = len(left)
    shown = seeds_by_items([first.correct for first, _ in paired], [second.correct for _, second in paired])
    deltas = [float(second.correct.mean() - first.correct.mean()) for first, second in paired]
    return OverSeeds(
        seeds=seeds,
        n=n,
        base_mean=float(left.mean()) / seeds,
        base_ci95=wilson(float(left.sum()) / seeds, n),
        adapted_mean=float(right.mean()) / seeds,
        adapted_ci95=wilson(float(right.sum()) / seeds, n),
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


def _right_per_question(seeds: list[Cell]) -> NDArray[np.int64]:
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


def _baselines(found: list[Cell]) -> list[Baseline]:
    """What a constant answer scores on each task: the majority label (known from the gold) and the first option."""
    gold_of: dict[str, Cell] = {}
    for cell in found:
        gold_of.setdefault(cell.task, cell)
    rows = []
    for task, cell in gold_of.items():
        n, counts = len(cell.gold), np.bincount(cell.gold)
        rows.append(
            Baseline(
                task=task,
                n=n,
                majority=float(counts.max()) / n,
                majority_label=LETTERS[int(counts.argmax())],
                always_first=float(counts[0]) / n,
                majority_correct=int(counts.max()),
                always_first_correct=int(counts[0]),
                chance=float(np.mean(1 / cell.options)) if cell.options.all() else None,
            )
        )
    return rows
