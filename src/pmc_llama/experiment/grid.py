"""Runs the grid: tunes every cell that is not up to date, scores every cell, joins the predictions."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

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
from pmc_llama.model.precision import compute_dtype
from pmc_llama.qa.examples import tuning_batches
from pmc_llama.qa.prompts import render
from pmc_llama.qa.question import Question
from pmc_llama.qa.score import score
from pmc_llama.qa.tasks import load_questions
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.inputs import tokenizer_path
from pmc_llama.stamps import Stamp
from pmc_llama.tokens.encode import hf_tokenizer
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
    """Tune every cell whose model is not up to date; returns a line that says how many."""
    tuned = tuning_stamps(recipe, stamps)
    todo = {cell: stamp for cell, stamp in tuned.items() if stamp.why_stale()}
    for number, (cell, stamp) in enumerate(todo.items(), 1):
        stamp.begin()
        started_s = time.monotonic()
        _tune(recipe, cell, f"tune {number}/{len(todo)} {cell.name}")
        stamp.finish(time.monotonic() - started_s)
    return f"{len(todo)} models tuned, {len(tuned) - len(todo)} were up to date"


def score_cells(recipe: Recipe, stamps: Mapping[str, Stamp]) -> str:
    """Score every cell whose predictions are not up to date, and join all predictions into one table."""
    scored = scoring_stamps(recipe, stamps)
    todo = {cell: stamp for cell, stamp in scored.items() if stamp.why_stale()}
    tests = {name: questions(recipe, name, "test") for name, task in recipe.tasks.items() if task.test is not None}
    for number, (cell, stamp) in enumerate(todo.items(), 1):
        stamp.begin()
        started_s = time.monotonic()
        rows = _score(recipe, cell, tests, f"score {number}/{len(todo)} {cell.name}")
        _write(rows, PREDICTIONS, predictions_file(recipe, cell))
        stamp.finish(time.monotonic() - started_s)
    parts = [pq.read_table(predictions_file(recipe, cell)) for cell in cells(recipe)]
    with atomic_path(recipe.run_path / "predictions.parquet") as partial:
        pq.write_table(pa.concat_tables([PREDICTIONS.empty_table(), *parts]), partial)
    shown = [_question_row(recipe, question) for task in tests.values() for question in task]
    _write(shown, QUESTIONS, recipe.run_path / "questions.parquet")
    return f"{len(todo)} models scored on {len(shown):,} questions, {len(scored) - len(todo)} were up to date"


def questions(recipe: Recipe, task: str, split: Any) -> list[Question]:
    """The questions of one split of a task of the recipe."""
    return load_questions(task, recipe.tasks[task], recipe.data_root, split)


def _tune(recipe: Recipe, cell: Cell, label: str) -> None:
    regime, folder = recipe.regimes[cell.regime], tune_folder(recipe, cell)
    tokenizer = hf_tokenizer(tokenizer_path(recipe))
    batches = tuning_batches(
        [
            question
            for task in regime.tasks
            for question in take_fraction(questions(recipe, task, "train"), regime.fraction, cell.seed)
        ],
        prompt={task: recipe.tasks[task].prompt for task in regime.tasks},
        answers={task: recipe.tasks[task].answers for task in regime.tasks},
        tokenizer=tokenizer,
        options=regime,
        loss_on=regime.loss_on,
        seed=cell.seed,
    )
    train(
        model=ModelOrigin(path=starting_model(recipe, cell)),
        batches=batches,
        options=regime,
        out=folder / "train",
        export_to=folder / "model",
        tokenizer=tokenizer,
        seed=cell.seed,
        lora=regime.lora,
        label=label,
    )


def _score(recipe: Recipe, cell: Cell, tests: Mapping[str, list[Question]], label: str) -> list[dict[str, Any]]:
    """The rows of one cell's predictions, task by task."""
    kind, tuned = recipe.regimes[cell.regime].kind, tune_folder(recipe, cell) / "model"
    folder = tuned if kind == "full" else starting_model(recipe, cell)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = compute_dtype(recipe.evaluate.precision, device)
    model = load_for_inference(folder, adapter=tuned if kind == "peft" else None, dtype=dtype, device=device.type)
    tokenizer = hf_tokenizer(tokenizer_path(recipe))
    rows = []
    for task, asked in tests.items():
        results = score(
            model,
            tokenizer,
            asked,
            prompt=recipe.tasks[task].prompt,
            answers=recipe.tasks[task].answers,
            normalise=recipe.evaluate.normalise,
            batch_tokens=recipe.evaluate.batch_tokens,
            max_length=recipe.evaluate.max_length,
        )
        in_domain = task in recipe.regimes[cell.regime].tasks
        for question, result in zip(asked, results, strict=True):
            rows.append(
                {
                    "model": cell.model,
                    "regime": cell.regime,
                    "seed": cell.seed,
                    "task": task,
                    "protocol": "in_domain" if in_domain else "out_of_domain",
                    "question_id": question.question_id,
                    "option_logprobs": result.option_logprobs,
                    "option_scores": result.option_scores,
                    "chosen": result.chosen,
                    "gold": question.gold,
                    "parsed": None,
                    "truncated": result.truncated,
                    "tie": result.tie,
                }
            )
    return rows


def _question_row(recipe: Recipe, question: Question) -> dict[str, Any]:
    section = recipe.tasks[question.task]
    return {
        "task": question.task,
        "question_id": question.question_id,
        "subject": question.subject,
        "prompt": render(section.prompt, question, section.answers).context,
        "options": question.options,
        "gold": question.gold,
    }


def _write(rows: Iterable[Mapping[str, Any]], schema: pa.Schema, path: Path) -> None:
    with atomic_path(path) as partial:
        pq.write_table(pa.Table.from_pylist(list(rows), schema), partial)
