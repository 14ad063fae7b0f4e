"""Read `predictions.parquet` and give, for each cell of the experiment, its answers as arrays."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pmc_llama.errors import InputError
from pmc_llama.recipe.comparisons import in_order

PRETRAIN_SEED = "pretrain_seed"
"""A column only where several adapted models were pre-trained; null for models that do not depend on it."""
GROUP = "group"
"""A column only where questions share something (drug, passage, exam); null for a question that shares nothing."""
COLUMNS = (
    "model",
    "regime",
    "seed",
    "task",
    "protocol",
    "question_id",
    "option_logprobs",
    "chosen",
    "gold",
    "parsed",
    "truncated",
    "tie",
)


@dataclass(frozen=True)
class Cell:
    """The answers of one model, regime and seed to one task's questions, sorted by question id.

    Of several adapted models each has cells of its own.
    """

    model: str
    regime: str
    seed: int
    task: str
    protocol: str
    question_ids: list[str]
    gold: NDArray[np.int64]  # [N]
    chosen: NDArray[np.int64]  # [N], -1 = unparsed
    confidence: NDArray[np.float64]  # [N], probability of the chosen option; NaN where there is none
    options: NDArray[np.int64]  # [N], how many options each question has; 0 where that is not recorded
    brier: float | None
    truncated: int
    ties: int
    groups: list[str] | None = None
    """What the questions share [N], where any two share something; a question that shares nothing is its own group."""
    pretrain_seed: int | None = None
    """Where there are several adapted models: which one this is; None for other models."""

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Which answers are right [N]; an unparsed one is wrong."""
        return np.asarray(self.chosen == self.gold)


def read_predictions(path: Path) -> pl.DataFrame:
    """The predictions as a table, checked.

    Raises InputError for missing columns, rows that name no model, or questions answered twice.
    """
    try:
        frame = pl.read_parquet(path, glob=False)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: evaluate the models before reporting on them") from None
    except pl.exceptions.ComputeError as error:
        raise InputError(f"{path} is not a Parquet file: {error}") from None
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise InputError(f"{path} lacks the column {missing[0]!r}; it has {', '.join(frame.columns)}")
    if frame["model"].null_count():
        raise InputError(f"{path}: {frame['model'].null_count()} rows name no model")
    if PRETRAIN_SEED not in frame.columns:
        frame = frame.with_columns(pl.lit(None, pl.Int64).alias(PRETRAIN_SEED))
    key = ["model", PRETRAIN_SEED, "regime", "seed", "task", "question_id"]
    repeated = frame.filter(pl.struct(key).is_duplicated())
    if len(repeated):
        raise InputError(f"{path}: answered twice: {repeated.select(key).row(0, named=True)}")
    options = pl.col("option_logprobs").list.len()
    scored = frame.filter(options > 0)
    beyond = scored.filter((pl.col("gold") >= options) | (pl.col("chosen") >= options) | (pl.col("gold") < 0))
    if len(beyond):
        raise InputError(f"{path}: gold or chosen is none of the options: {beyond.row(0, named=True)}")
    return _with_probabilities(frame)


def _with_probabilities(frame: pl.DataFrame) -> pl.DataFrame:
    """Add what follows from the options' log-likelihoods: `probabilities` (their softmax), `confidence` and `brier`.

    Confidence is the probability of the chosen option, Brier's score the squared distance of the probabilities from the
    right answer; both are null where nothing was chosen or no log-likelihoods are known.
    """
    one, parsed = pl.element(), pl.col("chosen") >= 0
    powers = (one - one.max()).exp()
    frame = frame.with_columns(probabilities=pl.col("option_logprobs").list.eval(powers / powers.sum()))
    of_gold = pl.col("probabilities").list.get(pl.col("gold"), null_on_oob=True)
    squares = pl.col("probabilities").list.eval(one**2).list.sum()
    return frame.with_columns(
        confidence=pl.when(parsed).then(pl.col("probabilities").list.get(pl.col("chosen"), null_on_oob=True)),
        brier=pl.when(parsed).then(squares - 2 * of_gold + 1),
    )


def cells(frame: pl.DataFrame) -> Iterator[Cell]:
    """The cells of the experiment: regimes and tasks as they first appear, then by seed, base before adapted."""
    models = in_order(frame["model"].unique(maintain_order=True).to_list())
    ordered = frame.with_columns(
        pl.col("regime").cast(pl.Enum(frame["regime"].unique(maintain_order=True))),
        pl.col("task").cast(pl.Enum(frame["task"].unique(maintain_order=True))),
        pl.col("model").cast(pl.Enum(models)),
    ).sort("regime", "task", "seed", "model", PRETRAIN_SEED, "question_id")
    for group in ordered.partition_by("regime", "task", "seed", "model", PRETRAIN_SEED, maintain_order=True):
        yield _cell(group)


def _cell(group: pl.DataFrame) -> Cell:
    first = group.row(0, named=True)
    return Cell(
        model=first["model"],
        regime=first["regime"],
        seed=first["seed"],
        task=first["task"],
        protocol=first["protocol"],
        question_ids=group["question_id"].to_list(),
        gold=group["gold"].to_numpy().astype(np.int64),
        chosen=group["chosen"].to_numpy().astype(np.int64),
        confidence=group["confidence"].fill_null(np.nan).to_numpy(),
        options=group["option_logprobs"].list.len().fill_null(0).to_numpy().astype(np.int64),
        brier=_mean(group["brier"]),
        truncated=int(group["truncated"].sum()),
        ties=int(group["tie"].sum()),
        groups=_groups(group),
        pretrain_seed=first[PRETRAIN_SEED],
    )


def _groups(answers: pl.DataFrame) -> list[str] | None:
    """The groups of the questions; None where each stands alone, or where all are one case."""
    if GROUP not in answers.columns:
        return None
    alone = pl.format("question {}", "question_id")
    named = pl.when(pl.col(GROUP).is_null()).then(alone).otherwise(pl.format("group {}", GROUP))
    found = answers.select(named).to_series().to_list()
    return found if 1 < len(set(found)) < len(found) else None


def _mean(values: pl.Series) -> float | None:
    known = values.drop_nulls().to_numpy()
    return float(known.mean()) if len(known) else None
