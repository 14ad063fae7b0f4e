"""Tunes one cell of the grid, asks it the test questions, and joins the predictions of all cells."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pmc_llama.experiment.cells import Cell, asked_as, cells
from pmc_llama.experiment.models import model_of, starting_folder
from pmc_llama.experiment.tuning import TuningData
from pmc_llama.files import atomic_path, read_record, write_json
from pmc_llama.model.load import ModelOrigin
from pmc_llama.qa.backends import Answer, Backend, open_backend
from pmc_llama.qa.prompts import render
from pmc_llama.qa.question import Question
from pmc_llama.qa.shots import shot_pool
from pmc_llama.qa.tasks import load_questions
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.comparisons import ADAPTED
from pmc_llama.records.models import ModelFacts
from pmc_llama.run_dir import RunDir
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
PRETRAIN_SEED = pa.field("pretrain_seed", pa.int64())
"""A column of predictions only where several adapted models were pre-trained; null for other models."""
GROUP = pa.field("group", pa.string())
"""A column of predictions only where any questions share something."""
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
MADE_FROM = b"pmc_llama.made_from"
"""Key of the Parquet files' metadata that holds the hashes of what the predictions were made from."""


def tune_cell(recipe: Recipe, cell: Cell, data: TuningData, out: RunDir, *, label: str, writes: bool) -> None:
    """Tune one cell into `out`; the same call goes on where one was interrupted."""
    regime, where = recipe.regimes[cell.regime], (cell.regime, cell.weights, cell.seed)
    tally = data.tally(cell)
    if writes:
        write_json(out.instructions(*where), tally)
        if tally.truncated:
            print(
                f"{label}: {tally.truncated:,} of {tally.kept:,} examples are longer than seq_len {regime.seq_len}, "
                "and lose their beginning",
                flush=True,
            )
    train(
        model=ModelOrigin(path=starting_folder(recipe, cell.model, cell.pretrain_seed)),
        batches=data.batches(cell),
        options=regime,
        out=out.tuning(*where).root,
        export_to=out.tuned_model(*where),
        tokenizer=data.tokenizer(cell.model),
        seed=cell.seed,
        lora=regime.lora,
        label=label,
    )


def answerer(recipe: Recipe, run: RunDir, cell: Cell) -> Backend:
    """What asks the model of a cell; weights are loaded when they are first needed."""
    regime, tuned = recipe.regimes[cell.regime], run.tuned_model(cell.regime, cell.weights, cell.seed)
    backend = model_of(recipe, cell.model, cell.pretrain_seed)
    if not regime.tuned:
        return open_backend(backend)
    whole = regime.lora is None
    return open_backend(replace(backend, folder=tuned) if whole else replace(backend, adapter=tuned))


def score_task(
    recipe: Recipe, cell: Cell, task: str, questions: Sequence[Question], model: Backend, out: RunDir, *, writes: bool
) -> None:
    """Ask one cell's model the questions of one task, and write its predictions into `out`."""
    section = asked_as(recipe, cell.regime, task, cell.model)
    results = model.answer(
        section,
        questions,
        pool=shot_pool(task, section, recipe.data_root),
        journal=out.journal(cell.name, task),
        samples=out.samples(cell.name, task),
    )
    if writes:
        protocol = "in_domain" if task in recipe.regimes[cell.regime].tasks else "out_of_domain"
        rows = [prediction_row(cell, task, protocol, *pair) for pair in zip(questions, results, strict=True)]
        write_json(out.asked_model(cell.name, task), model.describe())
        schema = PREDICTIONS if cell.pretrain_seed is None else PREDICTIONS.append(PRETRAIN_SEED)
        write_rows(rows, schema, out.task_predictions(cell.name, task))


def join_predictions(recipe: Recipe, files: Iterable[Path], made_from: Mapping[str, str], out: RunDir) -> None:
    """Write the predictions of all cells as one table, and the questions that they answer."""
    tables = [PREDICTIONS.empty_table(), *(pq.read_table(file) for file in files)]
    table = _with_first_seed(recipe, pa.concat_tables(tables, promote_options="default"))
    tested = {name: questions(recipe, name) for name, task in recipe.tasks.items() if task.test is not None}
    table = with_groups(table, tested)
    metadata = {MADE_FROM: msgspec.json.encode(dict(made_from), order="deterministic")}
    write_table(table.replace_schema_metadata(metadata), out.predictions)
    shown = [_question(recipe, question) for asked in tested.values() for question in asked]
    write_rows(shown, QUESTIONS, out.questions)


def with_groups(table: pa.Table, asked: Mapping[str, Sequence[Question]]) -> pa.Table:
    """The predictions with what each question shares with others, where any two of a task do; by task and question."""
    named: dict[tuple[str, str], str] = {}
    for task, of_task in asked.items():
        groups = [question.group for question in of_task if question.group is not None]
        if len(set(groups)) < len(groups):
            named |= {(task, one.question_id): one.group for one in of_task if one.group is not None}
    if not named:
        return table
    keys = zip(table["task"].to_pylist(), table["question_id"].to_pylist(), strict=True)
    return table.append_column(GROUP, pa.array([named.get(key) for key in keys], GROUP.type))


def _with_first_seed(recipe: Recipe, table: pa.Table) -> pa.Table:
    """The table with the first pre-training seed named, where there are several adapted models."""
    if PRETRAIN_SEED.name not in table.column_names:
        return table
    seeds = table[PRETRAIN_SEED.name]
    first = pc.and_(pc.equal(table["model"], ADAPTED), pc.is_null(seeds))
    named = pc.if_else(first, pa.scalar(recipe.pretrain_seeds[0], pa.int64()), seeds)
    return table.set_column(table.column_names.index(PRETRAIN_SEED.name), PRETRAIN_SEED, named)


def describe_models(recipe: Recipe, run: RunDir, out: RunDir) -> None:
    """Write down what is known of the models that are asked, as they are before tuning."""
    asked = dict.fromkeys(cell.model for cell in cells(recipe))
    write_json(out.models, {name: _facts(recipe, run, name) for name in asked})


def _facts(recipe: Recipe, run: RunDir, name: str) -> ModelFacts:
    """What is known of a model; of an endpoint what was known when it was asked, for it may be gone."""
    section = recipe.models.get(name)
    if section is not None and section.endpoint is not None:
        files = [
            run.asked_model(cell.name, task) for cell in cells(recipe) if cell.model == name for task in recipe.tasks
        ]
        known = [read_record(file, ModelFacts) for file in files if file.is_file()]
        ways = dict.fromkeys(one.asked for one in known if one.asked)
        if known:
            return msgspec.structs.replace(known[-1], asked=", ".join(ways) or None)
    return open_backend(model_of(recipe, name)).describe()


def questions(recipe: Recipe, task: str) -> list[Question]:
    """The test questions of a task of the recipe."""
    return load_questions(task, recipe.tasks[task], recipe.data_root, "test")


def prediction_row(cell: Cell, task: str, protocol: str, question: Question, result: Answer) -> dict[str, object]:
    """One answer as a row of the predictions."""
    return {
        "model": cell.model,
        "regime": cell.regime,
        "seed": cell.seed,
        "task": task,
        "protocol": protocol,
        "question_id": question.question_id,
        "option_logprobs": result.option_logprobs,
        "option_scores": result.option_scores,
        "chosen": result.chosen,
        "gold": question.gold,
        "parsed": result.parsed,
        "truncated": result.truncated,
        "tie": result.tie,
        **({} if cell.pretrain_seed is None else {PRETRAIN_SEED.name: cell.pretrain_seed}),
    }


def _question(recipe: Recipe, question: Question) -> dict[str, object]:
    section = recipe.tasks[question.task]
    return {
        "task": question.task,
        "question_id": question.question_id,
        "subject": question.subject,
        "prompt": render(section.prompt, question, section.answers).context,
        "options": question.options,
        "gold": question.gold,
    }


def write_rows(rows: Iterable[Mapping[str, object]], schema: pa.Schema, path: Path) -> None:
    """Write rows as a Parquet file, atomically."""
    write_table(pa.Table.from_pylist(list(rows), schema), path)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table as a Parquet file, atomically."""
    with atomic_path(path) as partial:
        pq.write_table(table, partial)
