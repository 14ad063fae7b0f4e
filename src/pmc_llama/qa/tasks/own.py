"""One's own questions: a JSON-lines, JSON, CSV or Parquet file, and the names of its columns in the recipe."""

from pathlib import Path
from typing import Any

from pmc_llama.errors import InputError, RecipeError
from pmc_llama.qa.question import LETTERS, Question
from pmc_llama.qa.tasks.reading import Record, checked, read_csv, read_rows
from pmc_llama.recipe.qa import ColumnsSection, TaskSection


def load(path: Path, section: TaskSection, data_root: Path, split: str) -> list[Question]:
    """Questions with the columns that `section.columns` names; ids are positions in the file where no column has them.

    An answer is an option's letter or its text; a number only where `columns.first` says what the first option's is.
    """
    columns = section.columns
    if columns is None:
        raise RecipeError(
            "a task of format `own` needs `columns`: the names of the columns question, options and answer"
        )
    records = _csv_records(path) if path.suffix == ".csv" else read_rows(path)
    questions = [_question(record, columns, f"{split}/{i}") for i, record in enumerate(records)]
    options = columns.options if isinstance(columns.options, str) else columns.options[0]
    return checked(records, questions, id_field=columns.id or "id", options=options)


def _csv_records(path: Path) -> list[Record]:
    (_, header), *rows = read_csv(path)
    for line, row in rows:
        if len(row) != len(header):
            raise InputError(f"{path}, line {line}: expected {len(header)} columns as in the header, found {len(row)}")
    return [Record(dict(zip(header, row, strict=True)), f"{path}, line {line}") for line, row in rows]


def _question(record: Record, columns: ColumnsSection, position: str) -> Question:
    if isinstance(columns.options, str):
        options, named = tuple(record.texts(columns.options)), columns.options
    else:
        options, named = tuple(record.text(column) for column in columns.options), columns.options[0]
    if not 2 <= len(options) <= len(LETTERS):
        record.fail(named, f"expected 2 to {len(LETTERS)} options, found {len(options)}")
    return Question(
        task="",
        question_id=record.text(columns.id) if columns.id else position,
        question=record.text(columns.question),
        options=options,
        gold=_gold(record, columns, options),
        context=record.text(columns.context) if columns.context else None,
        subject=record.optional(columns.subject) if columns.subject else None,
        group=_group(record, columns.group),
        words=set(options) <= {"yes", "no", "maybe"},
    )


def _group(record: Record, column: str | None) -> str | None:
    """What the question shares with others; a drug's or a passage's number is one name of it too."""
    value = record.values.get(column) if column else None
    if column and column not in record.values:
        record.fail(column, "the column is not there")
    if value is not None and not isinstance(value, str | int):
        record.fail(column or "", f"expected a text or a whole number, found {value!r}")
    return None if value in (None, "") else str(value)


def _gold(record: Record, columns: ColumnsSection, options: tuple[str, ...]) -> int:
    answer: Any = record.value(columns.answer)
    if columns.first is not None:
        index = record.integer(columns.answer) - columns.first
        if not 0 <= index < len(options):
            record.fail(
                columns.answer, f"expected {columns.first} to {columns.first + len(options) - 1}, found {answer}"
            )
        return index
    if isinstance(answer, int):
        record.fail(columns.answer, f"{answer} is a number: say in `columns.first` whether the first option is 0 or 1")
    if options.count(answer) == 1:
        return options.index(answer)
    return record.position(columns.answer, answer, tuple(LETTERS[: len(options)]))
