"""A run's own records: the stamp of each piece of work, what a model was made by, and the history."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from pmc_llama.files import files_below, read_json, read_record, sha256_file, sha256_json
from pmc_llama.run_dir import RunDir


class InputRecord(msgspec.Struct, frozen=True):
    """One input as it was: `stat` tells cheaply that it is untouched, `sha256` that it is the same."""

    stat: str | None
    """Hash over names, sizes, times and inodes; None where it changed too recently to be told apart by them."""
    sha256: str | None
    """Hash of the content; None while nobody has read it."""


class Stamp(msgspec.Struct, frozen=True):
    """What one piece of work was made from and by, and what it made."""

    work: str
    settings: Any
    """All settings that decide the result, as the recipe's declarations give them."""
    code: str
    """Hash of the code that made it."""
    inputs: dict[str, InputRecord]
    upstream: dict[str, str]
    """The results that it was made from: content hash by piece of work."""
    recipe: str
    """Hash of the resolved recipe, kept as `RunDir.recipe_of`."""
    version: str
    """Of this package."""
    at: str
    token: str | None = None
    """Hash of what was made; None while the work is unfinished."""
    files: dict[str, int] = {}
    """Sizes of the files that were made, by path in the run directory; nothing else is ever deleted."""
    places: list[str] = []
    """The files and folders that were put into the run directory as a whole."""
    seconds: float | None = None

    @property
    def identity(self) -> str:
        """Short hash of all that decides the result; inputs count by content where it is known."""
        known = {name: one.sha256 or one.stat for name, one in self.inputs.items()}
        return sha256_json([self.settings, self.code, known, self.upstream])[:12]

    @property
    def finished(self) -> bool:
        """Whether the work is whole."""
        return self.token is not None


class MadeBy(msgspec.Struct, frozen=True):
    """What stands beside the weights of a model that a run made."""

    work: str
    """The piece of work: `base`, `pretrain` or `tune/<cell>`."""
    settings: Any
    upstream: dict[str, str]
    version: str


class Exported(msgspec.Struct, frozen=True):
    """What stands beside an exported model: what made it, and hashes of what was exported, to be checked later."""

    work: str
    token: str
    """Hash of the model in its run."""
    settings: Any
    upstream: dict[str, str]
    version: str
    files: dict[str, str]
    """Hashes of weights, configurations, tokenizer, recipe and results."""


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a run's history."""

    at: str
    event: str
    command: list[str] = []
    work: str = ""
    seconds: float = 0.0
    summary: str = ""


class Authorship(msgspec.Struct, frozen=True):
    """The files at the top of a run directory that this package writes again: the hashes that each may have."""

    files: dict[str, list[str]] = {}


MADE_BY = "pmc_llama.json"
"""The file beside a model's weights that says what made it."""


def corpus_work(corpus: str) -> str:
    """The piece of work that builds a corpus."""
    return corpus if corpus in ("corpus", "general") else f"extra/{corpus}"


def store_work(corpus: str) -> str:
    """The piece of work that encodes a corpus."""
    return f"tokens/{corpus}"


def pretrain_work(seed: int | None) -> str:
    """The piece of work that pre-trains an adapted model of a further seed; None: the first one."""
    return "pretrain" if seed is None else f"pretrain/seed-{seed}"


def tuning_work(cell: str) -> str:
    """The piece of work that tunes a cell of the grid."""
    return f"tune/{cell}"


def choice_work(model: str) -> str:
    """The piece of work that chooses a model's prompt."""
    return f"choose/{model}"


def merge_work(model: str) -> str:
    """Name of the work that merges other models into one."""
    return f"merge/{model}"


def answers_work(cell: str, task: str) -> str:
    """The piece of work that asks a cell's model a task."""
    return f"score/{cell}/{task}"


def content_hash(root: Path, places: Iterable[Path]) -> str:
    """One hash over the files at and below `places`, relative to `root`: what was made, wherever the run lies.

    What stands beside a model's weights on how it was made, and where an adapter's base lies, is no part of it.
    """
    files = [file for place in places for file in files_below(root / place) if file.name != MADE_BY]
    hashes = {file.relative_to(root).as_posix(): _content(file) for file in files}
    return sha256_json(hashes)


def _content(file: Path) -> str:
    if file.name != "adapter_config.json":
        return sha256_file(file)
    return sha256_json({name: one for name, one in read_json(file).items() if name != "base_model_name_or_path"})


def read_stamp(path: Path) -> Stamp | None:
    """A stamp, or None where there is none."""
    return read_record(path, Stamp) if path.is_file() else None


def read_stamps(run: RunDir) -> dict[str, Stamp]:
    """All stamps of a run, by piece of work."""
    files = sorted(file for file in run.stamps.rglob("*.json") if file != run.authorship)
    stamps = [read_record(file, Stamp) for file in files]
    return {stamp.work: stamp for stamp in stamps}
