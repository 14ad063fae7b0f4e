"""What became of the questions or instruction rows that a regime was tuned on."""

import msgspec


class InstructionRows(msgspec.Struct):
    """Rows of files, or training questions of tasks: those that came in are those kept and those dropped."""

    rows: int = 0
    kept: int = 0
    truncated: int = 0
    """Of the kept ones, those whose prompt lost its beginning because the row is longer than `seq_len`."""
    dropped: dict[str, int] = {}
    """Rows that cannot be used, by reason."""
    sources: dict[str, int] = {}
    """Kept rows by what their `source` says, questions by task."""
