"""Answers that someone else's run gave: a Parquet file in the form of predictions.parquet."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pmc_llama.errors import InputError
from pmc_llama.qa.backends.base import BETWEEN_TEXTS, Answer, Model
from pmc_llama.qa.question import Question
from pmc_llama.recipe.qa import TaskSection
from pmc_llama.records.models import ModelFacts

COLUMNS = ("task", "question_id", "chosen", "gold")
"""What a file must have; the other columns of predictions.parquet are read where they are there."""
_CELL = re.compile(r"(?P<regime>[^/]+)/(?P<model>[^/]+)/seed-(?P<seed>\d+)")
_SHOWN = 5


class PredictionsBackend:
    """The answers of one model, taken by task and question id. They are read when first asked for."""

    def __init__(self, file: Path, which: str | None = None) -> None:
        """`which`: a model, or regime/model/seed-N; needed where the file has several."""
        self._file, self._which = file, which
        self._rows: dict[tuple[str, str], dict[str, Any]] | None = None

    @classmethod
    def opened(cls, model: Model) -> Self:
        """The backend of a file."""
        assert model.file is not None
        return cls(model.file, model.section.model)

    def answer(
        self,
        section: TaskSection,
        questions: Sequence[Question],
        *,
        pool: Sequence[Question] = (),
        journal: Path | None = None,
        samples: Path | None = None,
    ) -> list[Answer]:
        """See `Backend`; neither journal nor samples are written, for nobody is asked.

        Raises InputError for a file that is damaged or lacks columns, where several models are in it and none is named,
        for questions without an answer (counted), and for answers to other questions under the same ids: the gold
        answer stands elsewhere, or the option that was chosen does not exist.
        """
        rows = self._read()
        missing = [one.question_id for one in questions if (one.task, one.question_id) not in rows]
        if missing:
            shown = ", ".join(repr(one) for one in missing[:_SHOWN]) + (", …" if len(missing) > _SHOWN else "")
            tasks = ", ".join(sorted({task for task, _ in rows})) or "none"
            raise InputError(
                f"{self._file} has no answer to {len(missing):,} of {len(questions):,} questions of task "
                f"{questions[0].task!r}: {shown}; its tasks are {tasks}"
            )
        return [self._answer(one, rows[one.task, one.question_id]) for one in questions]

    def describe(self) -> ModelFacts:
        """See `Backend`."""
        return ModelFacts(kind="predictions", where=str(self._file), revision=self._which)

    def _answer(self, question: Question, row: dict[str, Any]) -> Answer:
        where = f"{self._file}, task {question.task!r}, question {question.question_id!r}"
        count, chosen, logprobs = len(question.options), row["chosen"], row.get("option_logprobs")
        if row["gold"] != question.gold:
            raise InputError(
                f"{where}: its gold answer is option {row['gold']}, here it is {question.gold}: the file answers "
                "another version of the question"
            )
        if not isinstance(chosen, int) or not -1 <= chosen < count or (logprobs and len(logprobs) != count):
            raise InputError(f"{where}: the answer {chosen!r} does not fit a question of {count} options")
        scores, parsed = row.get("option_scores"), row.get("parsed")
        return Answer(
            question.question_id,
            chosen,
            bool(row.get("tie")),
            bool(row.get("truncated")),
            option_logprobs=None if logprobs is None else tuple(logprobs),
            option_scores=None if scores is None else tuple(scores),
            texts=None if parsed is None else tuple(parsed.split(BETWEEN_TEXTS)),
        )

    def _read(self) -> dict[tuple[str, str], dict[str, Any]]:
        if self._rows is None:
            table = self._of_model(_read_table(self._file))
            self._rows = {}
            for row in table.to_pylist():
                key = (str(row["task"]), str(row["question_id"]))
                if key in self._rows:
                    raise InputError(f"{self._file}: task {key[0]!r}, question {key[1]!r} is answered twice")
                self._rows[key] = row
        return self._rows

    def _of_model(self, table: pa.Table) -> pa.Table:
        """The rows of the model that is meant. Raises InputError where that is not exactly one."""
        parts = {name: table[name] if name in table.column_names else None for name in ("regime", "model", "seed")}
        named = _CELL.fullmatch(self._which or "")
        wanted: dict[str, Any] = named.groupdict() if named else {"model": self._which} if self._which else {}
        for name, value in wanted.items():
            column = parts[name]
            if column is None:
                raise InputError(f"{self._file} has no column {name!r}, by which model: {self._which} could be found")
            table = table.filter(pc.equal(table[name].cast(pa.string()), value))
        table = self._of_first_pretraining(table)
        cells = {_name(row) for row in table.select([one for one in parts if parts[one] is not None]).to_pylist()}
        if len(cells) == 1:
            return table
        if not cells and not self._which:
            raise InputError(f"{self._file} holds no answers")
        if not cells:
            everything = sorted({_name(row) for row in _read_table(self._file).to_pylist()})
            raise InputError(f"{self._file} has no model {self._which!r}; it has {_listed(everything)}")
        raise InputError(f"{self._file} has the answers of several; say which by `model`: {_listed(sorted(cells))}")

    def _of_first_pretraining(self, table: pa.Table) -> pa.Table:
        """Without the answers of further adapted models, where several were pre-trained."""
        if "pretrain_seed" not in table.column_names or pc.all(pc.is_null(table["pretrain_seed"])).as_py():
            return table
        everything = _read_table(self._file)["pretrain_seed"].drop_null()
        return table.filter(pc.fill_null(pc.equal(table["pretrain_seed"], everything[0]), True))


def _read_table(file: Path) -> pa.Table:
    try:
        table = pq.read_table(file)
    except FileNotFoundError:
        raise InputError(f"predictions {file}: there is no such file") from None
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"predictions {file} is no readable Parquet file: {error}") from None
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise InputError(f"predictions {file} lacks the column {missing[0]!r}; it has {', '.join(table.column_names)}")
    return table


def _name(row: dict[str, Any]) -> str:
    """A cell as `model` takes it."""
    if row.get("regime") is None or row.get("seed") is None:
        return str(row.get("model"))
    return f"{row['regime']}/{row.get('model')}/seed-{row['seed']}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[: _SHOWN * 2]) + (", …" if len(names) > _SHOWN * 2 else "")
