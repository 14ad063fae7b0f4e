"""`primary.json`: the question that a run is to answer, as it stood before the first score."""

from pathlib import Path

import msgspec

from pmc_llama.files import read_record


class Primary(msgspec.Struct, frozen=True):
    """One regime, its tasks, what is compared, and the margin under which a difference is small."""

    regime: str
    tasks: list[str]
    comparison: tuple[str, str] = ("base", "adapted")
    margin: float = 0.02
    after_scores: bool = False
    """Whether answers were there already when it was written down, as in a run of an earlier version."""


def read_primary(path: Path) -> Primary | None:
    """A run's `primary.json`; None where there is none."""
    return read_record(path, Primary) if path.is_file() else None
