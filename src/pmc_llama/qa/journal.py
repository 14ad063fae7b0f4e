"""Results on disk as they come, question by question, so that scoring goes on where it was stopped."""

from pathlib import Path
from typing import TypeVar

import msgspec

Result = TypeVar("Result", bound=msgspec.Struct)


class _Line(msgspec.Struct, array_like=True):
    key: str
    index: int
    result: msgspec.Raw


class Journal:
    """A folder of JSON lines, one file per process; any number of processes may have written it.

    `key` names all that results depend on (model, questions, settings): lines of another key are not read. A line
    that was cut off by a crash is not read either.
    """

    def __init__(self, folder: Path, key: str, rank: int = 0) -> None:
        self._folder, self._key = folder, key
        self._path = folder / f"{rank}.jsonl"

    def read(self, kind: type[Result]) -> dict[int, Result]:
        """The results kept so far, by the question's position."""
        found: dict[int, Result] = {}
        for path in sorted(self._folder.glob("*.jsonl")):
            for content in path.read_bytes().split(b"\n"):
                try:
                    line = msgspec.json.decode(content, type=_Line)
                    if line.key == self._key:
                        found[line.index] = msgspec.json.decode(line.result, type=kind)
                except msgspec.DecodeError:  # the last line of a process that was killed, or the empty end
                    continue
        return found

    def add(self, index: int, result: msgspec.Struct) -> None:
        """Keep one result."""
        self._folder.mkdir(parents=True, exist_ok=True)
        line = msgspec.json.encode(_Line(self._key, index, msgspec.Raw(msgspec.json.encode(result))))
        with self._path.open("ab") as file:
            file.write(b"\n" + line)  # the line break first: it ends a line that was cut off
