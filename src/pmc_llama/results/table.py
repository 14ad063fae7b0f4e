"""`predictions.parquet` becomes `results.json`: every accuracy with its interval, every difference with its test."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from msgspec import UNSET

from pmc_llama.files import write_json
from pmc_llama.qa.question import LETTERS
from pmc_llama.recipe.comparisons import OWN_MODELS, Pair, default_comparisons
from pmc_llama.records.primary import Primary
from pmc_llama.records.results import Accuracy, Baseline, Mean, Results, Summary
from pmc_llama.results.comparisons import (
    CellPair,
    differences,
    mean_interval,
    right_per_question,
    summaries,
    summaries_of,
)
from pmc_llama.results.predictions import Cell, cells, read_predictions
from pmc_llama.stats.calibration import UNPARSED_BRIER, ece, ece_floor, ece_interval, with_unparsed
from pmc_llama.stats.intervals import share_interval
from pmc_llama.stats.macro_f1 import macro_f1, macro_f1_interval


def compute_results(
    predictions: Path,
    out: Path,
    contaminated: Mapping[str, Collection[str]] | None = None,
    *,
    compared: Sequence[Pair] | None = None,
    made_from: Mapping[str, str] | None = None,
    primary: Primary | None = None,
    original: Sequence[CellPair] = (),
) -> Results:
    """Write `results.json` from `predictions.parquet` and return its value.

    `rows`: one per model, regime, seed and task. `means`: the same over seeds. `comparisons`: the pairs of `compared`
    (None: see `default_comparisons`) on the same questions, one a pair, regime, task and seed (b = only the first is
    right, c = only the second is; delta = second − first; Holm over the tasks of one pair, regime and seed). `summary`:
    the same over seeds, one a pair, regime and task; those of the question `primary` are marked, and are a family of
    their own. `original`: the summary of these pairs of answers, of base and adapted. `uncontaminated`: the summary
    without the questions of `contaminated` (ids by task), for the tasks that have any. `baselines`: what needs no
    model. Raises InputError for predictions that are incomplete or contradict themselves.
    """
    answers = read_predictions(predictions)
    found = list(cells(answers))
    models = list(dict.fromkeys(cell.model for cell in found))
    compared = default_comparisons(models) if compared is None else compared
    results = Results(
        rows=[_row(cell) for cell in found],
        means=_means(found),
        comparisons=differences(found, compared),
        summary=summaries(found, compared, primary),
        original=summaries_of([(OWN_MODELS, list(original))], primary),
        uncontaminated=_uncontaminated(answers, compared, contaminated or {}),
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
        ci95=share_interval(cell.correct, cell.groups),
        macro_f1=macro_f1(cell.gold, cell.chosen),
        macro_f1_ci95=macro_f1_interval(cell.gold, cell.chosen, groups=cell.groups),
        **_calibration(cell),
        parse_rate=float(np.mean(cell.chosen >= 0)),
        truncated=cell.truncated,
        ties=cell.ties,
        pretrain_seed=UNSET if cell.pretrain_seed is None else cell.pretrain_seed,
    )


def _calibration(cell: Cell) -> dict[str, Any]:
    """Calibration where any parsed answer has probabilities; unparsed answers were sure and wrong."""
    answered, unparsed = ~np.isnan(cell.confidence), int((cell.chosen < 0).sum())
    if cell.brier is None or not answered.any():
        return {}
    confidence, correct = with_unparsed(cell.confidence[answered], cell.correct[answered], unparsed)
    groups = None
    if cell.groups is not None:
        names = np.array(cell.groups)
        groups = [*names[answered], *names[cell.chosen < 0]]
    squares = cell.brier * int(answered.sum()) + UNPARSED_BRIER * unparsed
    return {
        "ece": ece(confidence, correct),
        "ece_ci95": ece_interval(confidence, correct, groups=groups),
        "ece_floor": ece_floor(confidence),
        "brier": squares / len(confidence),
    }


def _means(found: list[Cell]) -> list[Mean]:
    seeds_of: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in found:
        seeds_of.setdefault((cell.regime, cell.task, cell.model), []).append(cell)
    rows = []
    for (regime, task, model), seeds in seeds_of.items():
        right, n = right_per_question(seeds), len(seeds[0].gold)
        about: dict[str, Any] = {"protocol": seeds[0].protocol, "seeds": len({cell.seed for cell in seeds}), "n": n}
        if (pretrainings := len({cell.pretrain_seed for cell in seeds})) > 1:
            about["pretrainings"] = pretrainings
        mean, ci95 = float(right.sum()) / len(seeds) / n, mean_interval(right, seeds)
        rows.append(Mean(model, regime, task, mean=mean, ci95=ci95, **about))
    return rows


def _uncontaminated(
    answers: pl.DataFrame, compared: Sequence[Pair], contaminated: Mapping[str, Collection[str]]
) -> list[Summary]:
    """The summary of what is left of each task that has questions in the papers; Holm over all tasks of the regime."""
    if not contaminated:
        return []
    hit = pl.DataFrame(
        [(task, one) for task, ids in contaminated.items() for one in ids], ["task", "question_id"], orient="row"
    )
    clean = answers.join(hit, on=["task", "question_id"], how="anti", maintain_order="left")
    if not len(clean):
        return []
    return [row for row in summaries(list(cells(clean)), compared) if row.task in contaminated]


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
