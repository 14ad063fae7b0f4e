"""Where a downloaded question set is from, written beside its files."""

import msgspec


class SetFile(msgspec.Struct):
    """One file of the set: where it is on the hub, and what it is."""

    hub_path: str
    sha256: str
    bytes: int


class SetOrigin(msgspec.Struct):
    """Where a question set was downloaded from."""

    repo: str
    revision: str
    """The commit."""
    license: str
    questions: dict[str, int]
    """How many each split has."""
    files: dict[str, SetFile]
    """By their names in the set's folder."""
