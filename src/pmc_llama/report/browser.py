"""The per-question browser's data: prompts, options and all models' probabilities as compact JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import polars as pl
from markupsafe import Markup

from pmc_llama.recipe.comparisons import BASE, in_order

LIMIT_BYTES = 4_000_000
"""Questions beyond this much JSON are left out of the page, shared equally by the tasks; the page says how many."""
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


@dataclass(frozen=True)
class Browser:
    """The data as JSON that is safe inside a script element, and how many of all questions it holds."""

    json: Markup
    shown: int
    total: int


def browser(
    questions: pl.DataFrame | None, predictions: pl.DataFrame | None, limit_bytes: int = LIMIT_BYTES
) -> Browser | None:
    """The browser's data, or None where there are no questions or no predictions.

    Where not all fit, the questions on which models disagree in some run are preferred, else the first ones.
    """
    if questions is None or predictions is None or not len(questions) or not len(predictions):
        return None
    predictions = _with_each_adapted(predictions)
    runs = predictions.select("regime", "seed").unique(maintain_order=True).rows()
    models = in_order(predictions["model"].unique(maintain_order=True).to_list())
    answers = _answers(predictions, runs, models)
    tasks = questions["task"].unique(maintain_order=True).to_list()
    shown: list[msgspec.Raw] = []
    for i, task in enumerate(tasks):
        rows = questions.filter(pl.col("task") == task).rows(named=True)
        records = [_record(i, row, answers.get((task, row["question_id"]), {}), len(runs), len(models)) for row in rows]
        shown += _fitting(records, limit_bytes // len(tasks))
    data = {"tasks": tasks, "runs": runs, "models": models, "questions": shown}
    return Browser(Markup(safe_json(data)), len(shown), len(questions))


def _with_each_adapted(predictions: pl.DataFrame) -> pl.DataFrame:
    """The predictions with a name for each of several adapted models, which come after the base."""
    seed = pl.col("pretrain_seed")
    named = pl.when(seed.is_null()).then("model").otherwise(pl.format("{} (pre-training {})", "model", seed))
    return predictions.sort(pl.col("model") != BASE, seed.is_null(), maintain_order=True).with_columns(model=named)


def safe_json(value: Any) -> str:
    """JSON that cannot end the script element it stands in, nor be read as markup."""
    text = msgspec.json.encode(value).decode()
    for character, escaped in _UNSAFE.items():
        text = text.replace(character, escaped)
    return text


Answers = dict[tuple[int, int], list[Any]]
"""By (run, model): [chosen, probabilities in thousandths, and the generated text where there is one]."""


def _answers(
    predictions: pl.DataFrame, runs: list[tuple[str, int]], models: list[str]
) -> dict[tuple[str, str], Answers]:
    """All answers by (task, question id)."""
    place_of_run = {run: place for place, run in enumerate(runs)}
    place_of_model = {model: place for place, model in enumerate(models)}
    found: dict[tuple[str, str], Answers] = {}
    thousandths = pl.col("probabilities").list.eval((1000 * pl.element()).round().cast(pl.Int16))
    columns = ("model", "regime", "seed", "task", "question_id", "chosen", "parsed")
    for row in predictions.select(*columns, thousandths=thousandths).iter_rows(named=True):
        answer = [row["chosen"], row["thousandths"] or [], *([row["parsed"]] if row["parsed"] else [])]
        place = place_of_run[row["regime"], row["seed"]], place_of_model[row["model"]]
        found.setdefault((row["task"], row["question_id"]), {})[place] = answer
    return found


class Shown(msgspec.Struct):
    """One question in the page; the keys are short, as there are thousands."""

    task: int = msgspec.field(name="t")
    question_id: str = msgspec.field(name="id")
    subject: str | None = msgspec.field(name="s")
    prompt: str = msgspec.field(name="p")
    options: list[str] = msgspec.field(name="o")
    gold: int = msgspec.field(name="g")
    answers: list[list[list[Any] | None]] = msgspec.field(name="a")
    """Per run, of each model."""


def _record(task: int, row: Mapping[str, Any], answers: Answers, runs: int, models: int) -> Shown:
    given = [[answers.get((run, model)) for model in range(models)] for run in range(runs)]
    return Shown(task, row["question_id"], row["subject"], row["prompt"], row["options"], row["gold"], given)


def _fitting(records: list[Shown], limit_bytes: int) -> list[msgspec.Raw]:
    """The records that fit, encoded and in their order; those with a disagreement are preferred."""
    encoded = [msgspec.json.encode(record) for record in records]
    kept, used = [], 0
    for place in sorted(range(len(records)), key=lambda i: not _disagree(records[i].answers)):
        used += len(encoded[place])
        if used > limit_bytes:
            break
        kept.append(place)
    return [msgspec.Raw(encoded[place]) for place in sorted(kept)]


def _disagree(answers: list[list[list[Any] | None]]) -> bool:
    return any(len({one[0] for one in models if one}) > 1 for models in answers)
