"""Stamps: which settings and which upstream results a finished piece of work was made from."""

import shutil
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pmc_llama.files import read_json, sha256_json, write_json


class Stamp:
    """The record of one piece of work (a stage, or a cell of the grid).

    `settings` is all that decides the result besides the upstream work; `upstream` are the stamps this work builds on;
    `outputs` are the paths it makes. Work is up to date when it was finished with the same settings on top of the very
    results that the upstream stamps now stand for, and its outputs are still there.
    """

    def __init__(self, path: Path, settings: Any, upstream: Iterable["Stamp"], outputs: Iterable[Path]) -> None:
        self.path, self.upstream, self.outputs = path, list(upstream), list(outputs)
        self.key = sha256_json(settings)

    @property
    def token(self) -> str | None:
        """Identity of the finished result; a new one each time the work is redone. None if it is not finished."""
        record = self._read()
        return record["token"] if record and record["finished"] else None

    @property
    def seconds(self) -> float | None:
        """How long the work took when it was last finished, whether or not it is still up to date."""
        record = self._read()
        return record["seconds"] if record else None

    def why_stale(self) -> str | None:
        """None if the work is up to date, else the reason in a few words."""
        record = self._read()
        if record is None:
            return "not made yet"
        if record["key"] != self.key:
            return "settings changed"
        if not record["finished"]:
            return "interrupted"
        if record["upstream"] != self._upstream_tokens():
            return "what it builds on was made anew"
        missing = [path for path in self.outputs if not path.exists()]
        return f"{missing[0].name} is missing" if missing else None

    def begin(self) -> None:
        """Note that the work starts. Outputs of other settings are deleted, those of the same work stay."""
        record = self._read()
        resumable = (
            record is not None
            and not record["finished"]
            and record["key"] == self.key
            and record["upstream"] == self._upstream_tokens()
        )
        if not resumable:
            self.discard()
        self._write(finished=False, seconds=None)

    def finish(self, seconds: float) -> None:
        """Note that the work is whole."""
        self._write(finished=True, seconds=seconds)

    def discard(self) -> None:
        """Forget the work and delete its outputs."""
        self.path.unlink(missing_ok=True)
        for output in self.outputs:
            if output.is_dir():
                shutil.rmtree(output)
            else:
                output.unlink(missing_ok=True)

    def _upstream_tokens(self) -> dict[str, str | None]:
        return {stamp.path.stem: stamp.token for stamp in self.upstream}

    def _read(self) -> Any:
        return read_json(self.path) if self.path.exists() else None

    def _write(self, *, finished: bool, seconds: float | None) -> None:
        record = {
            "key": self.key,
            "finished": finished,
            "token": uuid.uuid4().hex,
            "upstream": self._upstream_tokens(),
            "seconds": seconds,
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        write_json(self.path, record)
