"""Runs the grid: tunes every cell that is not up to date, scores every cell, joins the predictions."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pmc_llama.experiment.regimes import (
    Cell,
    cells,
    predictions_file,
    scoring_stamps,
    starting_model,
    take_fraction,
    tune_folder,
    tuning_stamps,
)
from pmc_llama.files import atomic_path
from pmc_llama.model.load import ModelOrigin, load_for_inference
from pmc_llama.qa.examples import tuning_batches
from pmc_llama.qa.prompts import render
from pmc_llama.qa.question import Question
from pmc_llama.qa.score import Scored, score
from pmc_llama.qa.tasks import load_questions
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.inputs import tokenizer_path
from pmc_llama.stamps import Stamp
from pmc_llama.train.loop import train

PREDICTIONS = pa.schema(
    [
        ("model", pa.string()),
        ("regime", pa.string()),
        ("seed", pa.int64()),
        ("task", pa.string()),
        ("protocol", pa.string()),
        ("question_id", pa.string()),
        ("option_logprobs", pa.list_(pa.float64())),
        ("option_scores", pa.list_(pa.float64())),
        ("chosen", pa.int32()),
        ("gold", pa.int32()),
        ("parsed", pa.string()),
        ("truncated", pa.bool_()),
        ("tie", pa.bool_()),
    ]
)
QUESTIONS = pa.schema(
    [
        ("task", pa.string()),
        ("question_id", pa.string()),
        ("subject", pa.string()),
        ("prompt", pa.string()),
        ("options", pa.list_(pa.string())),
        ("gold", pa.int32()),
    ]
)


def tune_cells(recipe: Recipe, stamps: Mapping[str, Stamp]) -> str:
    """Tune every cell whose tuned model is not up to date; returns a line that says how many."""
    todo = {cell: stamp for cell, stamp in tuning_stamps(recipe, stamps).items() if stamp.why_stale()}
    total = len(tuning_stamps(recipe, stamps))
    for number, (cell, stamp) in enumerate(todo.items(), 1):
        stamp.begin()
        started_s = time.monotonic()
        _tune(recipe, cell, f"tune {number}/{len(todo)} {cell.name}")
        stamp.finish(time.monotonic() - started_s)
    return f"{len(todo)} of {total} models tuned, the others were up to date"


def _tune(recipe: Recipe, cell: Cell, label: str) -> None:
    regime = recipe.regimes[cell.regime]
    folder, tokenizer = tune_folder(recipe, cell), _tokenizer(recipe)
    questions = [
        question
        for task in regime.tasks
        for question in take_fraction(_questions(recipe, task, "train"), regime.fraction, cell.seed)
    ]
    train(
        model=ModelOrigin(path=starting_model(recipe, cell)),
        batches=tuning_batches(
            questions,
            prompts={task: (recipe.tasks[task].prompt, recipe.tasks[task].answers) for task in regime.tasks},
            tokenizer=tokenizer,
            options=regime,
            loss_on=regime.loss_on,
            seed=cell.seed,
        ),
        options=regime,
        out=folder / "train",
        export_to=folder / "model",
        tokenizer=tokenizer,
        seed=cell.seed,
        lora=regime.lora,
        label=label,
    )


def score_cells(recipe: Recipe, stamps: Mapping[str, Stamp]) -> str:
    """Score every cell whose predictions are not up to date, then join all predictions into one table."""
    todo = {cell: stamp for cell, stamp in scoring_stamps(recipe, stamps).items() if stamp.why_stale()}
    tests = {name: _questions(recipe, name, "test") for name, task in recipe.tasks.items() if task.test is not None}
    for cell, stamp in todo.items():
        stamp.begin()
        started_s = time.monotonic()
        rows = [row for task, questions in tests.items() for row in _score(recipe, cell, task, questions)]
        _write(rows, PREDICTIONS, predictions_file(recipe, cell))
        stamp.finish(time.monotonic() - started_s)
    parts = [pq.read_table(predictions_file(recipe, cell)) for cell in cells(recipe)]
    joined = pa.concat_tables([PREDICTIONS.empty_table(), *parts])
    with atomic_path(recipe.run_path / "predictions.parquet") as partial:
        pq.write_table(joined, partial)
    shown = [_question_row(recipe, question) for questions in tests.values() for question in questions]
    _write(shown, QUESTIONS, recipe.run_path / "questions.parquet")
    return f"{len(todo)} of {len(parts)} models scored, {len(shown):,} questions each"
