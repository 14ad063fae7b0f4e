"""Runs the grid: tunes every cell that is not up to date, scores every cell, joins the predictions."""

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pmc_llama.experiment.regimes import (
    Cell,
    answers_folder,
    asked_as,
    cells,
    predictions_file,
    scoring_stamps,
    starting_model,
    tune_folder,
    tuning_stamps,
)
from pmc_llama.experiment.tuning import TuningData
from pmc_llama.files import atomic_path, write_json
from pmc_llama.model.load import ModelOrigin
from pmc_llama.qa.answer import Answerer, shot_pool
from pmc_llama.qa.prompts import render
from pmc_llama.qa.question import Question
from pmc_llama.qa.tasks import load_questions
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.inputs import tokenizer_path
from pmc_llama.stamps import Stamp
from pmc_llama.tokens.encode import hf_tokenizer
from pmc_llama.train.loop import train
from pmc_llama.train.world import World, join_world

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
    tuned, data = tuning_stamps(recipe, stamps), TuningData(recipe)
    todo = _stale(tuned)
    with join_world() as world:
        for cell, label in _each(world, todo, "tune"):
            tally = data.tally(recipe.regimes[cell.regime])
            if tally is not None and world.is_first:
                write_json(tune_folder(recipe, cell) / "instructions.json", msgspec.to_builtins(tally))
            _tune(recipe, cell, data, label)
    return f"{len(todo)} models tuned, {len(tuned) - len(todo)} were up to date"


def score_cells(recipe: Recipe, stamps: Mapping[str, Stamp]) -> str:
    """Score every cell whose predictions are not up to date, and join all predictions into one table."""
    scored = scoring_stamps(recipe, stamps)
    tests = {name: questions(recipe, name, "test") for name, task in recipe.tasks.items() if task.test is not None}
    todo, asked = _stale(scored), sum(map(len, tests.values()))
    with join_world() as world:
        for cell, label in _each(world, todo, "score"):
            if world.is_first:
                print(label, flush=True)
            rows = _score(recipe, cell, tests)
            if world.is_first:
                _write(rows, PREDICTIONS, predictions_file(recipe, cell))
        if world.is_first:
            _join(recipe, tests)
    return f"{len(todo)} models scored on {asked:,} questions, {len(scored) - len(todo)} were up to date"


def _stale(stamps: Mapping[Cell, Stamp]) -> dict[Cell, Stamp]:
    return {cell: stamp for cell, stamp in stamps.items() if stamp.why_stale()}


def _each(world: World, todo: Mapping[Cell, Stamp], verb: str) -> Iterator[tuple[Cell, str]]:
    """Every cell, with a label of its work; of several processes the first keeps the stamps."""
    for number, (cell, stamp) in enumerate(todo.items(), 1):
        world.barrier()  # all have looked, and have done the cell before, when the first writes
        if world.is_first:
            stamp.begin()
        world.barrier()
        started_s = time.monotonic()
        yield cell, f"{verb} {number}/{len(todo)} {cell.name}"
        world.barrier()
        if world.is_first:
            stamp.finish(time.monotonic() - started_s)


def _join(recipe: Recipe, tests: Mapping[str, list[Question]]) -> None:
    """Write the predictions of all cells as one table, and the questions that they answer."""
    parts = [pq.read_table(predictions_file(recipe, cell)) for cell in cells(recipe)]
    with atomic_path(recipe.run_path / "predictions.parquet") as partial:
        pq.write_table(pa.concat_tables([PREDICTIONS.empty_table(), *parts]), partial)
    shown = [_question_row(recipe, question) for task in tests.values() for question in task]
    _write(shown, QUESTIONS, recipe.run_path / "questions.parquet")


def questions(recipe: Recipe, task: str, split: Any) -> list[Question]:
    """The questions of one split of a task of the recipe."""
    return load_questions(task, recipe.tasks[task], recipe.data_root, split)


def _tune(recipe: Recipe, cell: Cell, data: TuningData, label: str) -> None:
    regime, folder = recipe.regimes[cell.regime], tune_folder(recipe, cell)
    train(
        model=ModelOrigin(path=starting_model(recipe, cell)),
        batches=data.batches(cell),
        options=regime,
        out=folder / "train",
        export_to=folder / "model",
        tokenizer=data.tokenizer,
        seed=cell.seed,
        lora=regime.lora,
        label=label,
    )


def _score(recipe: Recipe, cell: Cell, tests: Mapping[str, list[Question]]) -> list[dict[str, Any]]:
    """The rows of one cell's predictions, task by task."""
    regime, tuned, out = recipe.regimes[cell.regime], tune_folder(recipe, cell) / "model", answers_folder(recipe, cell)
    whole = regime.tuned and regime.lora is None
    model = Answerer(
        tuned if whole else starting_model(recipe, cell),
        hf_tokenizer(tokenizer_path(recipe)),
        recipe.evaluate,
        adapter=tuned if regime.lora is not None else None,
    )
    rows = []
    for task, asked in tests.items():
        section = asked_as(recipe, cell.regime, task)
        results = model.answer(
            section,
            asked,
            pool=shot_pool(task, section, recipe.data_root),
            journal=out / task / "journal",
            samples=out / f"samples_{task}.jsonl",
        )
        for question, result in zip(asked, results, strict=True):
            rows.append(
                {
                    "model": cell.model,
                    "regime": cell.regime,
                    "seed": cell.seed,
                    "task": task,
                    "protocol": "in_domain" if task in regime.tasks else "out_of_domain",
                    "question_id": question.question_id,
                    "option_logprobs": result.option_logprobs,
                    "option_scores": result.option_scores,
                    "chosen": result.chosen,
                    "gold": question.gold,
                    "parsed": result.parsed,
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
