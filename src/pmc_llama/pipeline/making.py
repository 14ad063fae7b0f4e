"""New results are made beside the old ones, in a folder of their own, and swapped in when they are whole.

The folder's name holds a hash of all that decides the result, so work goes on only with what was made the same way, and
work that was left off with other settings waits beside it. What is deleted is what a stamp of the run lists.
"""

import errno
import os
import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import yaml

from pmc_llama import __version__
from pmc_llama.errors import InputError
from pmc_llama.escape import without_secrets
from pmc_llama.files import files_below, read_record, sha256_text, write_json, write_text
from pmc_llama.pipeline.identity import Input, completed
from pmc_llama.pipeline.stamps import Stamps, plain
from pmc_llama.recipe import Recipe
from pmc_llama.records.stamps import MADE_BY, MadeBy, Stamp, read_stamp
from pmc_llama.records.training import trained_seconds
from pmc_llama.run_dir import RunDir

if TYPE_CHECKING:
    from pmc_llama.pipeline.stage import Work


@dataclass(frozen=True)
class Started:
    """Work that has begun: where it is made, and its stamp so far."""

    out: RunDir
    stamp: Stamp
    inputs: list[Input]
    begun_s: float


def begin(run: RunDir, work: "Work", recipe: Recipe, *, writes: bool) -> Started:
    """Choose the folder that `work` is made in, and note that it begins; what the same work left there stays.

    Every process calls it, the one with `writes` writes.
    """
    inputs = work.inputs()
    text = resolved(recipe)
    stamp = Stamp(
        work=work.name,
        settings=plain(work.settings),
        code=work.code,
        inputs={one.name: one.record() for one in inputs},
        upstream=Stamps(run).upstream(work),
        recipe=sha256_text(text),
        version=__version__,
        at=now(),
        places=[place.as_posix() for place in (*work.outputs, *work.beside)],
    )
    home = run.making(work.name, stamp.identity)
    if writes:
        if not run.recipe_of(stamp.recipe).is_file():
            write_text(run.recipe_of(stamp.recipe), text)
        if not home.making_stamp.is_file():
            _take_back(run, work, stamp, home)
            write_json(home.making_stamp, stamp)
        if work.trains:
            _show(run, work, home)
    return Started(run if work.in_place else home, stamp, inputs, time.monotonic())


def finish(run: RunDir, work: "Work", started: Started) -> None:
    """Note that the work is whole, and put it where it belongs."""
    out = started.out
    if work.trains:
        for folder in work.outputs:
            write_json(out.root / folder / MADE_BY, _made_by(started.stamp))
    files = [file for place in (*work.outputs, *work.beside) for file in files_below(out.root / place)]
    sizes = {file.relative_to(out.root).as_posix(): file.stat().st_size for file in files}
    seconds = time.monotonic() - started.begun_s
    stamp = msgspec.structs.replace(
        started.stamp,
        token=work.token(out),
        inputs=completed(started.inputs, started.stamp.inputs, work.input_hashes(out)),
        files=sizes,
        places=sorted(sizes) if work.shares_folder else started.stamp.places,
        seconds=max([seconds, *(trained_seconds(out.root / place) for place in work.beside if work.trains)]),
        at=now(),
    )
    home = run.making(work.name, started.stamp.identity)
    write_json(home.making_stamp, stamp)
    swap_in(run, home)
    if not work.trains:  # of training, what was left off with other settings may have cost hours
        for left_off in run.all_making(work.name):
            shutil.rmtree(left_off.root)


def forget(run: RunDir, work: "Work") -> None:
    """Throw away unfinished work of these settings, so that it begins from nothing; what is finished stays."""
    for home in run.all_making(work.name):
        stamp = read_stamp(home.making_stamp)
        if stamp is None or stamp.settings == plain(work.settings):
            shutil.rmtree(home.root)


def swap_in(run: RunDir, home: RunDir) -> None:
    """Put finished work in the place of its predecessor, which is deleted after that; goes on where it was cut off.

    Raises InputError naming a file that stands in the way and that no stamp lists; the work stays where it is.
    """
    new = read_record(home.making_stamp, Stamp)
    old = read_stamp(run.stamp(new.work))
    listed = {} if old is None else old.files
    for place in new.places:
        if (home.root / place).exists():
            if is_link_to_making(run, run.root / place):
                (run.root / place).unlink()
            refuse_foreign(run, [place], listed)
            _replace(home.root / place, run.root / place, home.replaced / place)
    for name in listed.keys() - new.files.keys():
        (run.root / name).unlink(missing_ok=True)
    write_json(run.stamp(new.work), new)
    shutil.rmtree(home.root)


def finish_swaps(run: RunDir) -> None:
    """Put finished work in its place that an interrupted call had no time to."""
    for stamp in sorted(run.making_root.glob("*/stamp.json")):
        if read_record(stamp, Stamp).finished:
            swap_in(run, RunDir(stamp.parent))


def refuse_foreign(run: RunDir, places: Iterable[str], listed: Iterable[str]) -> None:
    """Raise InputError where files lie in the way of outputs that this run did not make."""
    known = set(listed)
    for place in places:
        if is_link_to_making(run, run.root / place):
            continue
        for file in files_below(run.root / place):
            name = file.relative_to(run.root).as_posix()
            if name not in known and not name.endswith(".partial"):
                raise InputError(
                    f"{run.root}: {name} lies where this run would write {place}, and it is not this run's: "
                    "give another run_dir, or move it away"
                )


def resolved(recipe: Recipe) -> str:
    """A recipe with all overrides, as YAML."""
    return yaml.safe_dump(recipe.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True)


def command() -> list[str]:
    """The command that this process was started by, without what is secret in addresses."""
    return [without_secrets(word) for word in sys.argv]


def now() -> str:
    """The time in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _made_by(stamp: Stamp) -> MadeBy:
    return MadeBy(stamp.work, stamp.settings, stamp.upstream, stamp.version)


def _take_back(run: RunDir, work: "Work", stamp: Stamp, home: RunDir) -> None:
    """Where the result of this very work was moved away, go on from what it left beside it, such as checkpoints."""
    old = read_stamp(run.stamp(work.name))
    if old is None or old.identity != stamp.identity or all((run.root / place).exists() for place in work.outputs):
        return
    for place in work.beside:
        if (run.root / place).exists() and not is_link_to_making(run, run.root / place):
            _move(run.root / place, home.root / place)


def _show(run: RunDir, work: "Work", home: RunDir) -> None:
    """Where nothing finished lies, link to training in progress, so that its curves are seen where they will be."""
    for place in work.beside:
        target = run.root / place
        if is_link_to_making(run, target):
            target.unlink()
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(os.path.relpath((home.root / place).resolve(), target.parent.resolve()))


def is_link_to_making(run: RunDir, path: Path) -> bool:
    """Whether a path is a link to unfinished work, which it is while that is being made."""
    if not path.is_symlink():
        return False
    target = (path.parent.resolve() / path.readlink()).resolve()
    return target.is_relative_to(run.making_root.resolve())


def _replace(source: Path, target: Path, replaced: Path) -> None:
    if target.is_symlink() and target.is_dir():  # a folder that was put on another disk stays there
        for child in sorted(source.iterdir()):
            _replace(child, target / child.name, replaced / child.name)
        source.rmdir()
        return
    if target.exists() or target.is_symlink():
        _move(target, replaced)
    _move(source, target)


def _move(source: Path, target: Path) -> None:
    """Rename, or copy to another file system; `target` appears whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        partial = target.with_name(target.name + ".partial")
        if source.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(source, partial)
        else:
            shutil.copy2(source, partial)
        partial.rename(target)
        shutil.rmtree(source) if source.is_dir() else source.unlink()
