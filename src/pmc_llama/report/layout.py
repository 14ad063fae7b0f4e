"""A table as the report shows it, once as data and then alike in HTML, Markdown and CSV."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from msgspec import UNSET

from pmc_llama.escape import csv_cell, markdown
from pmc_llama.files import write_text


@dataclass(frozen=True)
class Value:
    """One value: as computed (`raw`), as people read it (`text`), smaller lines beneath (`detail`), colour (`tone`)."""

    raw: Any
    text: str
    detail: str = ""
    tone: str = ""


EMPTY = Value(None, "–")


@dataclass(frozen=True)
class Column:
    """One column. With `show`, which turns a raw value into text, it holds numbers: aligned right, sorted by value."""

    key: str
    label: str
    show: Callable[[Any], str] | None = None
    detail: str = ""

    @property
    def numeric(self) -> bool:
        """Whether it holds numbers."""
        return self.show is not None


@dataclass(frozen=True)
class Row:
    """One row: raw values or Values by column. `kind` styles it, `key` names what it is about for scripts."""

    values: Mapping[str, Any]
    kind: str = ""
    key: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A named table with a caption and, under it, a note on how to read it."""

    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    note: str = ""
    sortable: bool = False

    def value(self, row: Row, column: Column) -> Value:
        """What stands in one place of the table."""
        found = row.values.get(column.key)
        if found is None or found is UNSET:
            return EMPTY
        if isinstance(found, Value):
            return found
        return Value(found, column.show(found) if column.show else str(found))

    @property
    def groups(self) -> list[tuple[Value, list[Row]]]:
        """Neighbouring rows whose first value is equal, each group with that value."""
        first = self.columns[0]
        return [(value, list(rows)) for value, rows in groupby(self.rows, key=lambda row: self.value(row, first))]

    @property
    def grouped(self) -> bool:
        """Whether HTML shows the first column as headings over groups of rows; a sortable table's rows move alone."""
        return not self.sortable and len(self.groups) < len(self.rows)

    def markdown(self) -> str:
        """The table in GitHub's Markdown."""
        head = [_markdown_text(Value(None, column.label, column.detail)) for column in self.columns]
        rule = ["---:" if column.numeric else "---" for column in self.columns]
        body = [[_markdown_text(self.value(row, column)) for column in self.columns] for row in self.rows]
        lines = ["| " + " | ".join(cells) + " |" for cells in [head, rule, *body]]
        return f"**{self.caption}**\n\n" + "\n".join(lines) + (f"\n\n{self.note}" if self.note else "") + "\n"

    def csv(self) -> str:
        """The table as CSV with raw values (shares, not percent) and the columns' keys as header."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([column.key for column in self.columns])
        writer.writerows([[csv_cell(self.value(row, column).raw) for column in self.columns] for row in self.rows])
        return out.getvalue()

    def write(self, folder: Path) -> None:
        """Write `<name>.md` and `<name>.csv`."""
        write_text(folder / f"{self.name}.md", self.markdown())
        write_text(folder / f"{self.name}.csv", self.csv())


def _markdown_text(value: Value) -> str:
    detail = value.detail.replace("\n", "; ")
    return markdown(f"{value.text} ({detail})" if detail else value.text)
