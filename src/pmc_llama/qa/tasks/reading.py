"""Question files as records that know their place, so that every error names file, line and field."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from pmc_llama.errors import InputError
from pmc_llama.qa.question import LETTERS, Question


class Record:
    """One item of a question file: its values, and where it stands."""

    def __init__(self, values: Any, where: str) -> None:
        self.where = where
        if not isinstance(values, dict):
            raise InputError(f"{where}: expected an object of fields, found {_short(values)}")
        self.values: dict[str, Any] = values

    def fail(self, field: str, problem: str) -> NoReturn:
        """Raise the error that names this record's file, line and the field."""
        raise InputError(f"{self.where}, field {field!r}: {problem}")

    def value(self, field: str, *others: str) -> Any:
        """The value of `field`, or of the first of its other names that is there. Raises InputError if none is."""
        for name in (field, *others):
            if name in self.values:
                return self.values[name]
        return self.fail(field, f"is missing; the fields are {', '.join(map(repr, self.values)) or 'none'}")

    def text(self, field: str, *others: str) -> str:
        """A text that is not empty. Raises InputError otherwise."""
        value = self.value(field, *others)
        if isinstance(value, bool | int | float):  # answer options such as 4 or 2.5 are often stored as numbers
            value = str(value)
        if not isinstance(value, str) or not value.strip():
            self.fail(field, f"expected text, found {_short(value)}")
        return value

    def optional(self, field: str, *others: str) -> str | None:
        """A text, or None where it is missing or empty."""
        value = next((self.values[name] for name in (field, *others) if self.values.get(name) is not None), None)
        return str(value) if value not in (None, "") else None

    def integer(self, field: str, *others: str) -> int:
        """A whole number, also one written as text. Raises InputError otherwise."""
        value = self.value(field, *others)
        if isinstance(value, str) and value.strip().lstrip("-").isdigit():
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(field, f"expected a whole number, found {_short(value)}")
        return value

    def texts(self, field: str, *others: str) -> list[str]:
        """A list of texts. Raises InputError otherwise."""
        value = self.value(field, *others)
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self.fail(field, f"expected a list of texts, found {_short(value)}")
        return value

    def position(self, field: str, label: Any, labels: tuple[str, ...]) -> int:
        """The index of a gold `label` among `labels`. Raises InputError if it is none of them."""
        if label not in labels:
            self.fail(field, f"expected one of {', '.join(labels)}, found {_short(label)}")
        return labels.index(label)


def checked(
    records: Sequence[Record],
    questions: Sequence[Question],
    *,
    id_field: str,
    options: str,
    same_count: bool = True,
) -> list[Question]:
    """The questions made of `records`, one each. Raises InputError at an id given twice, or another count of options.

    `id_field`, `options`: the fields that the error names; `same_count`: whether all have as many options.
    """
    first_met: dict[str, Record] = {}
    for record, question in zip(records, questions, strict=True):
        earlier = first_met.setdefault(question.question_id, record)
        if earlier is not record:
            record.fail(id_field, f"question {question.question_id!r} stands already in {earlier.where}")
        if same_count and len(question.options) != len(questions[0].options):
            expected = f"expected {len(questions[0].options)} as in the file's first question"
            record.fail(options, f"holds {len(question.options)} options, {expected}")
    return list(questions)


def lettered_options(record: Record, field: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Letters and texts of an object of options; letters at its end that have no text are left out.

    Raises InputError for anything but texts under A, B, C, ….
    """
    raw = record.value(field)
    given = {key: text for key, text in raw.items() if text not in (None, "")} if isinstance(raw, dict) else {}
    letters = tuple(LETTERS[: len(given)])
    if len(given) < 2 or tuple(sorted(given)) != letters:
        record.fail(field, f"expected texts under the letters A, B, C, …, found {_short(raw)}")
    options = Record(given, f"{record.where}, field {field!r}")
    return letters, tuple(options.text(letter) for letter in letters)


@cache
def say_once(sentence: str) -> None:
    """Print a sentence, once in a process however often it is true."""
    print(sentence, flush=True)


def read_rows(path: Path) -> list[Record]:
    """The rows of a JSON-lines (whatever its suffix), JSON-list, Parquet or Arrow file."""
    if path.suffix in (".parquet", ".arrow"):
        return [Record(row, f"{path}, row {i}") for i, row in enumerate(_read_columns(path))]
    text = read_text(path)
    if text.lstrip().startswith("["):
        return [Record(row, f"{path}, item {i}") for i, row in enumerate(parse_json(text, path))]
    lines = ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
    return [Record(parse_json(line, path, number), f"{path}, line {number}") for number, line in lines]


def _read_columns(path: Path) -> list[dict[str, Any]]:
    import pyarrow.ipc
    import pyarrow.parquet

    try:
        if path.suffix == ".arrow":
            with pyarrow.memory_map(str(path)) as source:
                return list(pyarrow.ipc.open_stream(source).read_all().to_pylist())
        return list(pyarrow.parquet.read_table(path).to_pylist())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file of questions") from None
    except pyarrow.ArrowInvalid as error:
        kind = "an Arrow" if path.suffix == ".arrow" else "a Parquet"
        raise InputError(f"{path}: is not {kind} file: {error}") from None


def read_object(path: Path) -> dict[str, Any]:
    """A file that is one JSON object. Raises InputError on a key that occurs twice, which JSON readers let pass."""
    value = parse_json(read_text(path), path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected one JSON object, found {_short(value)}")
    return value


def read_csv(path: Path, separator: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Rows of a CSV file with the line that each ends on; quoted fields may hold newlines."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=separator)
    for row in reader:
        if row:
            yield reader.line_num, row


def read_text(path: Path) -> str:
    """A file's text as UTF-8. Raises InputError if it is missing, not UTF-8, or empty."""
    try:
        text = path.read_bytes().decode("utf-8-sig")  # no translation of line ends inside texts
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"{path}: no such file of questions") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 at byte {error.start}") from None
    if not text.strip():
        raise InputError(f"{path}: is empty")
    return text


def parse_json(text: str, path: Path, line: int | None = None) -> Any:
    """Parse JSON, refusing keys that occur twice. Raises InputError naming file and line."""
    try:
        return json.loads(text, object_pairs_hook=_distinct_keys)
    except json.JSONDecodeError as error:
        at = line if line is not None else error.lineno
        raise InputError(f"{path}, line {at}: is not valid JSON ({error.msg} at column {error.colno})") from None
    except _DuplicateKeyError as error:
        place = f"{path}, line {line}" if line is not None else str(path)
        raise InputError(f"{place}: key {error.key!r} occurs twice in one object") from None


class _DuplicateKeyError(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _DuplicateKeyError(key)
        found[key] = value
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
