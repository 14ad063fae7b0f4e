"""Tables of separated values with a header, as NCBI publishes them beside its articles."""

import csv
from collections.abc import Iterator
from typing import TextIO

from pmc_llama.errors import InputError


def read_rows(
    text: TextIO, path: str, needed: tuple[str, ...], known: tuple[str, ...] = ()
) -> Iterator[dict[str, str]]:
    """The rows by the names of the header; columns are separated by tabs where the header has one, else by commas.

    Raises InputError for a table without a `needed` column, or with a row that ends before one of `needed` or `known`.
    """
    try:
        header = text.readline()
        delimiter = "\t" if "\t" in header else ","
        names = next(csv.reader([header], delimiter=delimiter), [])
        for name in needed:
            if name not in names:
                raise InputError(f"{path}: there is no column {name!r}; columns: {names}")
        watched = [name for name in (*needed, *known) if name in names]
        rows = csv.DictReader(text, names, delimiter=delimiter)
        for row in rows:
            if any(row[name] is None for name in watched):
                raise InputError(f"{path}, line {rows.line_num + 1}: the row has fewer columns than the header")
            yield row
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read as a table ({error})") from error
