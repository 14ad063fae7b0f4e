"""Shards of the S2 Datasets API: listed, fetched in parallel, counted; and the changes between releases."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from pmc_llama.corpus.download.fetch import fetch, get
from pmc_llama.corpus.readers.base import scan_lines
from pmc_llama.corpus.storage import InputFile
from pmc_llama.errors import InputError
from pmc_llama.files import read_record, write_json
from pmc_llama.progress import Progress

API = "https://api.semanticscholar.org/datasets/v1"
KEY_VARIABLE = "S2_API_KEY"
LEAST_ROWS = {"s2orc": 5_000_000, "s2orc_v2": 5_000_000, "papers": 100_000_000}
"""Fewer rows than this mean an incomplete release: there were some with 150,000 rows of s2orc."""

T = TypeVar("T")


class Fetched(msgspec.Struct, frozen=True):
    """One shard that lies here whole."""

    bytes: int
    rows: int


class Manifest(msgspec.Struct, omit_defaults=True):
    """`manifest.json`: of which release (or from which to which) the shards are, and those that lie here."""

    dataset: str
    release: str | None = None
    start: str | None = msgspec.field(name="from", default=None)
    end: str | None = msgspec.field(name="to", default=None)
    files: dict[str, Fetched] = {}


class Increment(msgspec.Struct, frozen=True):
    """What changed up to one release: links to files of new rows and of deleted papers."""

    to_release: str
    update_files: list[str]
    delete_files: list[str]

    def files(self, kind: str) -> list[str]:
        """Links of one kind, `update` or `delete`."""
        return self.update_files if kind == "update" else self.delete_files


class _Release(msgspec.Struct, frozen=True):
    release_id: str


class _Files(msgspec.Struct, frozen=True):
    files: list[str]


class _Diffs(msgspec.Struct, frozen=True):
    diffs: list[Increment]


class S2Api:
    """The calls that are needed. The key is read from the environment variable S2_API_KEY."""

    def __init__(self, address: str = API, sleep: Callable[[float], None] = time.sleep) -> None:
        self._address, self._sleep = address.rstrip("/"), sleep
        key = os.environ.get(KEY_VARIABLE)
        self._headers = {"x-api-key": key} if key else {}

    def release(self, name: str = "latest") -> str:
        """The id (a date) of a release."""
        return self._call(f"release/{name}", _Release).release_id

    def files(self, release: str, dataset: str) -> dict[str, str]:
        """Signed links by shard name; only the name stays the same between calls."""
        return _by_name(self._call(f"release/{release}/dataset/{dataset}", _Files).files)

    def diffs(self, start: str, end: str, dataset: str) -> list[Increment]:
        """The increments that lead from one release to another, in the order in which they apply."""
        return list(self._call(f"diffs/{start}/to/{end}/{dataset}", _Diffs).diffs)

    def _call(self, path: str, kind: type[T]) -> T:
        answer = get(f"{self._address}/{path}", self._headers, self._sleep)
        try:
            return msgspec.json.decode(answer, type=kind)
        except msgspec.DecodeError as error:
            raise InputError(f"{self._address}/{path}: the answer is not what the API documents ({error})") from error


def _by_name(links: list[str]) -> dict[str, str]:
    return {urlsplit(link).path.rpartition("/")[2]: link for link in links}


def download_dataset(
    dataset: str,
    out: Path,
    *,
    release: str = "latest",
    api: S2Api | None = None,
    connections: int = 4,
    least_rows: int | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Manifest:
    """Fetch all shards of a data set into `out`; returns `manifest.json`'s value: release, bytes and rows per shard.

    Shards that are in the manifest are not fetched again. Raises InputError when a shard cannot be fetched or is no
    whole gzip file, and when the release holds fewer rows than `least_rows` (None: what is known of the data set).
    """
    api = api or S2Api(sleep=sleep)
    release = api.release(release)
    links = _Links(lambda: api.files(release, dataset))
    manifest = _Kept(out / "manifest.json", Manifest(dataset, release=release))
    _fetch_all(sorted(links.names), links, out, manifest, connections, sleep)
    rows = sum(shard.rows for shard in manifest.value.files.values())
    least = LEAST_ROWS.get(dataset, 1) if least_rows is None else least_rows
    if rows < least:
        raise InputError(
            f"release {release} holds {rows:,} rows of {dataset}, at least {least:,} were expected; "
            "incomplete releases exist: take another one"
        )
    return manifest.value


def download_diffs(
    dataset: str,
    out: Path,
    *,
    start: str,
    end: str = "latest",
    api: S2Api | None = None,
    connections: int = 4,
    sleep: Callable[[float], None] = time.sleep,
) -> Manifest:
    """Fetch the changes from release `start` to `end` into `out/<release>/{update,delete}`.

    Give the update files to the recipe as more `paths` of the source (the newest row of a paper wins) and the delete
    files as its `deleted`. Returns `manifest.json`'s value.
    """
    api = api or S2Api(sleep=sleep)
    manifest = _Kept(out / "manifest.json", Manifest(dataset, start=start, end=end))
    for number, increment in enumerate(api.diffs(start, end, dataset)):
        folder = out / increment.to_release
        for kind in ("update", "delete"):

            def current(number: int = number, kind: str = kind) -> dict[str, str]:
                return _by_name(api.diffs(start, end, dataset)[number].files(kind))

            links = _Links(current, _by_name(increment.files(kind)))
            _fetch_all(sorted(links.names), links, folder / kind, manifest, connections, sleep)
    return manifest.value


class _Links:
    """Links by shard name, listed again when one was used already."""

    def __init__(self, listing: Callable[[], dict[str, str]], first: dict[str, str] | None = None) -> None:
        self._listing, self._lock = listing, threading.Lock()
        self._fresh = dict(first if first is not None else listing())
        self.names = list(self._fresh)

    def take(self, name: str) -> str:
        with self._lock:
            if name not in self._fresh:
                self._fresh = dict(self._listing())
            if name not in self._fresh:
                raise InputError(f"{name}: the shard is no longer listed")
            return self._fresh.pop(name)


class _Kept:
    """What was fetched, written after each file."""

    def __init__(self, path: Path, about: Manifest) -> None:
        self._path, self._lock = path, threading.Lock()
        self.value = about
        if path.exists():
            before = read_record(path, Manifest)
            if msgspec.structs.replace(before, files={}) != about:
                raise InputError(f"{path} is of {before.dataset} {before.release}: take another folder")
            self.value = before

    def holds(self, path: Path) -> bool:
        entry = self.value.files.get(self._name(path))
        return entry is not None and path.exists() and path.stat().st_size == entry.bytes

    def add(self, path: Path, rows: int) -> None:
        with self._lock:
            self.value.files[self._name(path)] = Fetched(path.stat().st_size, rows)
            write_json(self._path, self.value)

    def _name(self, path: Path) -> str:
        return path.relative_to(self._path.parent).as_posix()


def _fetch_all(
    names: list[str], links: _Links, out: Path, manifest: _Kept, connections: int, sleep: Callable[[float], None]
) -> None:
    wanted = [name for name in names if not manifest.holds(out / name)]
    lock = threading.Lock()
    with Progress(f"download {out.name}", unit="MB") as progress, ThreadPoolExecutor(connections) as threads:

        def count(size_bytes: int) -> None:
            with lock:
                progress.advance(size_bytes / 1e6)

        def one(name: str) -> None:
            fetch(lambda: links.take(name), out / name, on_bytes=count, sleep=sleep)
            try:
                manifest.add(out / name, count_rows(out / name))
            except InputError:
                (out / name).unlink()  # it is no whole file: the next call fetches it anew
                raise

        for _ in threads.map(one, wanted):
            pass


def count_rows(path: Path) -> int:
    """Lines of a JSON lines file, which is read to its end. Raises InputError when it is broken."""
    with InputFile(str(path), hashed=False).open() as stream:
        return sum(start < end for _, start, end in scan_lines(stream, path.name))
