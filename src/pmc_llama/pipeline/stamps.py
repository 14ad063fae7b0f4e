"""What is up to date, and why not: a piece of work against the record of how it was made."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from pmc_llama.errors import PmcLlamaError
from pmc_llama.files import write_json
from pmc_llama.pipeline.identity import Input
from pmc_llama.records.stamps import Stamp, read_stamp
from pmc_llama.run_dir import RunDir

if TYPE_CHECKING:
    from pmc_llama.pipeline.stage import Work


class Stamps:
    """The stamps of one run directory."""

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self._read: dict[str, Stamp | None] = {}

    def of(self, work: str) -> Stamp | None:
        """The stamp of a finished piece of work, whether or not it is still up to date."""
        if work not in self._read:
            self._read[work] = read_stamp(self.run.stamp(work))
        return self._read[work]

    def token(self, work: str) -> str | None:
        """Hash of what a piece of work made; None if it was not made."""
        stamp = self.of(work)
        return stamp.token if stamp else None

    def forget(self, work: str) -> None:
        """Read the stamp anew when it is asked for next."""
        self._read.pop(work, None)

    def upstream(self, work: "Work") -> dict[str, str]:
        """The results that a piece of work builds on, as far as they were made."""
        tokens = {name: self.token(name) for name in work.upstream}
        return {name: token for name, token in tokens.items() if token is not None}

    def why_stale(self, work: "Work") -> str | None:
        """None if the work is up to date, else the reason in a few words."""
        stamp = self.of(work.name)
        if stamp is None:
            return "interrupted" if self.run.all_making(work.name) else "not made yet"
        if stamp.settings != plain(work.settings):
            return f"{changed_key(stamp.settings, plain(work.settings))} changed"
        if stamp.code != work.code:
            return "the code that makes it changed"
        if stamp.upstream != self.upstream(work):
            names = [name for name in work.upstream if stamp.upstream.get(name) != self.token(name)]
            return f"{names[0]} is another one" if names else "it builds on other work"
        return self._changed_input(work, stamp) or self._missing(work, stamp)

    def refresh(self, work: "Work") -> None:
        """Note how untouched inputs look now, so that they are not read again next time."""
        stamp = self.of(work.name)
        if stamp is None:
            return
        now = {one.name: msgspec.structs.replace(stamp.inputs[one.name], stat=one.stat()) for one in work.inputs()}
        if now != stamp.inputs:
            write_json(self.run.stamp(work.name), msgspec.structs.replace(stamp, inputs=now))
            self.forget(work.name)

    def _changed_input(self, work: "Work", stamp: Stamp) -> str | None:
        try:
            inputs: Mapping[str, Input] = {one.name: one for one in work.inputs()}
        except PmcLlamaError as error:
            return f"an input is gone ({error})"
        for name in sorted(inputs.keys() ^ stamp.inputs.keys()):
            return f"{name} {'came in' if name in inputs else 'is gone'}"
        for name, one in inputs.items():
            if not one.is_still(stamp.inputs[name]):
                return f"{name} has another content"
        return None

    def _missing(self, work: "Work", stamp: Stamp) -> str | None:
        for name, size in stamp.files.items():
            path = self.run.root / name
            if any(path.is_relative_to(self.run.root / output) for output in work.outputs):
                if not path.is_file():
                    return f"{name} is missing"
                if path.stat().st_size != size:
                    return f"{name} was changed after it was made"
        return None


def plain(settings: Any) -> Any:
    """Settings as they come back from a record."""
    return msgspec.json.decode(msgspec.json.encode(settings))


def changed_key(before: Any, after: Any) -> str:
    """The first key by which two settings differ, as a path."""
    return next(_differences(before, after, ""), "settings")


def _differences(before: Any, after: Any, path: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*after, *(key for key in before if key not in after)]:
            if before.get(name) != after.get(name):
                yield from _differences(before.get(name), after.get(name), f"{path}.{name}".lstrip("."))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (old, new) in enumerate(zip(before, after, strict=True)):
            if old != new:
                yield from _differences(old, new, f"{path}.{number}".lstrip("."))
    else:
        yield path or "settings"
