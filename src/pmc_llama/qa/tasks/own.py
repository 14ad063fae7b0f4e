"""One's own questions: a JSON-lines, JSON, CSV or Parquet file, and the names of its columns in the recipe."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pmc_llama.errors import InputError, RecipeError
from pmc_llama.qa.question import LETTERS, Question
from pmc_llama.qa.tasks.kind import Kind
from pmc_llama.qa.tasks.reading import Record, checked, read_csv, read_rows
from pmc_llama.recipe.qa import ColumnsSection, TaskSection

_SEPARATORS = (",", ";", "\t")


class _Row(NamedTuple):
    record: Record
    keys: tuple[str, ...]
    """What names the options: the keys of an object, else letters."""
    options: tuple[str, ...]


def load(path: Path, section: TaskSection, data_root: Path, split: str) -> list[Question]:
    """Questions with the columns that `section.columns` names; ids are positions in the file where no column has them.

    Answers are options' letters, or options' texts, by one rule for the whole file; numbers only where `columns.first`
    says what the first option's is. Questions may have different numbers of options. Raises InputError where both rules
    fit all rows and give other answers, and where neither does.
    """
    columns = section.columns
    if columns is None:
        raise RecipeError(
            "a task of format `own` needs `columns`: the names of the columns question, options and answer"
        )
    records = _csv_records(path, columns) if path.suffix in (".csv", ".tsv") else read_rows(path)
    rows = [_row(record, columns) for record in records]
    golds = _golds(rows, columns)
    questions = [
        _question(row, columns, gold, f"{split}/{i}") for i, (row, gold) in enumerate(zip(rows, golds, strict=True))
    ]
    named = columns.options if isinstance(columns.options, str) else columns.options[0]
    return checked(records, questions, id_field=columns.id or "id", options=named, same_count=False)


def _csv_records(path: Path, columns: ColumnsSection) -> list[Record]:
    """The rows under their header, whose separator is the one that sets the question's column apart."""
    for separator in _SEPARATORS:
        (_, header), *rows = read_csv(path, separator)
        if columns.question in header:
            break
    else:
        (_, header), *rows = read_csv(path)
    for line, row in rows:
        if len(row) != len(header):
            raise InputError(f"{path}, line {line}: expected {len(header)} columns as in the header, found {len(row)}")
    return [Record(dict(zip(header, row, strict=True)), f"{path}, line {line}") for line, row in rows]


def _row(record: Record, columns: ColumnsSection) -> _Row:
    if not isinstance(columns.options, str):
        options, named = tuple(record.text(column) for column in columns.options), columns.options[0]
        keys: tuple[str, ...] = tuple(LETTERS[: len(options)])
    else:
        named, value = columns.options, record.value(columns.options)
        if isinstance(value, dict):
            inside = Record(value, f"{record.where}, field {named!r}")
            keys, options = tuple(value), tuple(inside.text(key) for key in value)
        else:
            options = tuple(record.texts(named))
            keys = tuple(LETTERS[: len(options)])
    if not 2 <= len(options) <= len(LETTERS):
        record.fail(named, f"expected 2 to {len(LETTERS)} options, found {len(options)}")
    return _Row(record, keys, options)


def _golds(rows: Sequence[_Row], columns: ColumnsSection) -> list[int]:
    """The right option of each row, by one rule for all."""
    if columns.first is not None:
        return [_by_number(row, columns, columns.first) for row in rows]
    letters = [_place(row, columns, row.keys) for row in rows]
    texts = [_place(row, columns, row.options) for row in rows]
    is_text = columns.answer_is == "text" if columns.answer_is else texts.count(None) < letters.count(None)
    if columns.answer_is is None and None not in letters and None not in texts and letters != texts:
        row = next(row for row, a, b in zip(rows, letters, texts, strict=True) if a != b)
        answer = row.record.value(columns.answer)
        row.record.fail(
            columns.answer, f"{answer!r} is one option's letter and another's text: say `columns.answer_is`"
        )
    found = []
    for row, place in zip(rows, texts if is_text else letters, strict=True):
        if place is None:
            expected = "the text of one option" if is_text else f"one of {', '.join(row.keys)}"
            answer = row.record.value(columns.answer)
            row.record.fail(columns.answer, f"expected {expected}, found {answer!r}; one rule holds for the whole file")
        found.append(place)
    return found


def _place(row: _Row, columns: ColumnsSection, names: tuple[str, ...]) -> int | None:
    """Where the answer stands among the names; None if it does not stand there just once."""
    answer: Any = row.record.value(columns.answer)
    if isinstance(answer, int):
        problem = f"{answer} is a number: say in `columns.first` whether the first option is 0 or 1"
        row.record.fail(columns.answer, problem)
    return names.index(answer) if names.count(answer) == 1 else None


def _by_number(row: _Row, columns: ColumnsSection, first: int) -> int:
    index = row.record.integer(columns.answer) - first
    if not 0 <= index < len(row.options):
        last, found = first + len(row.options) - 1, row.record.value(columns.answer)
        row.record.fail(columns.answer, f"expected {first} to {last}, found {found}")
    return index


def _question(row: _Row, columns: ColumnsSection, gold: int, position: str) -> Question:
    record = row.record
    return Question(
        task="",
        question_id=record.text(columns.id) if columns.id else position,
        question=record.text(columns.question),
        options=row.options,
        gold=gold,
        context=record.text(columns.context) if columns.context else None,
        subject=record.optional(columns.subject) if columns.subject else None,
        group=_group(record, columns.group),
        words=set(row.options) <= {"yes", "no", "maybe"},
    )


def _group(record: Record, column: str | None) -> str | None:
    """What the question shares with others; a drug's or a passage's number is one name of it too."""
    value = record.values.get(column) if column else None
    if column and column not in record.values:
        record.fail(column, "the column is not there")
    if value is not None and not isinstance(value, str | int):
        record.fail(column or "", f"expected a text or a whole number, found {value!r}")
    return None if value in (None, "") else str(value)


OWN = Kind(load)
