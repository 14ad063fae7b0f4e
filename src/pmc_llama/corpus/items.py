"""The work: which input files there are, in which order, and which small ones are done together."""

import glob
from pathlib import Path

import msgspec

from pmc_llama.corpus.addresses import is_remote
from pmc_llama.corpus.storage import find, stat
from pmc_llama.corpus.word_counts import word_counts
from pmc_llama.errors import InputError
from pmc_llama.recipe.corpus import CorpusSection, SourceSection

SMALL_SUFFIXES = (".xml", ".nxml", ".txt", ".json")
"""Files that are usually one document each; they are grouped, as millions of work items would be only bookkeeping."""
GROUP_FILES = 1000
GROUP_BYTES = 2**28


class Item(msgspec.Struct, frozen=True):
    """One unit of work: a file, or a group of small files, of one source."""

    index: int
    source: int
    """Position of its source in the recipe."""
    name: str
    """Path relative to `data.root` (of the first file of a group)."""
    files: tuple[tuple[str, str, int], ...]
    """(path, name relative to `data.root`, bytes) of each file."""

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        return sum(size for _, _, size in self.files)


def plan_items(section: CorpusSection, data_root: Path, first: int = 0) -> list[Item]:
    """All work items, in the order of the recipe's sources and of the paths within one, numbered from `first`.

    Raises InputError when a path matches no file.
    """
    groups: list[tuple[int, list[tuple[str, str, int]]]] = []
    for number, source in enumerate(section.sources):
        files = [(path, _name(path, data_root), stat(path).size_bytes) for path in _find(source, data_root)]
        groups += [(number, group) for group in _grouped(files, source)]
    return [Item(index, number, files[0][1], tuple(files)) for index, (number, files) in enumerate(groups, first)]


def printable(name: str) -> str:
    """A file's name as text that can be written as UTF-8; bytes that are none are shown by their numbers."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def with_word_counts(section: CorpusSection, data_root: Path) -> CorpusSection:
    """The section with the full path of its table of word counts. Raises InputError where that holds no counts."""
    if section.clean.word_counts is None:
        return section
    path = find_files([section.clean.word_counts], data_root, "clean.word_counts")[0]
    word_counts(path)
    return section.model_copy(update={"clean": section.clean.model_copy(update={"word_counts": path})})


def find_files(patterns: list[str], data_root: Path, key: str) -> list[str]:
    """The files that paths, URLs and wildcards name, sorted, each once. Raises InputError when one names no file."""
    found: set[str] = set()
    for pattern in patterns:
        full = pattern if is_remote(pattern) or Path(pattern).is_absolute() else _below(data_root, pattern)
        matches = find(full)
        if not matches:
            raise InputError(f"{key}: {pattern!r} matches no file (looked for {full})")
        found.update(matches)
    return sorted(found)


def _below(data_root: Path, pattern: str) -> str:
    """A pattern relative to the root, in whose own name brackets and stars are plain characters."""
    plain = data_root / pattern
    return str(plain) if plain.is_file() else str(Path(glob.escape(str(data_root))) / pattern)


def _find(source: SourceSection, data_root: Path) -> list[str]:
    files = find_files(source.paths, data_root, f"corpus source {source.name!r}")
    files = [path for path in files if not path.endswith((".filelist.csv", ".filelist.txt", ".partial"))]
    articles = {path for path in files if path.endswith((".xml", ".nxml"))}
    return [path for path in files if not (path.endswith(".json") and path[:-5] + ".xml" in articles)]


def _name(path: str, data_root: Path) -> str:
    if is_remote(path):
        return path
    local = Path(path)
    return local.relative_to(data_root).as_posix() if local.is_relative_to(data_root) else local.as_posix()


def _grouped(files: list[tuple[str, str, int]], source: SourceSection) -> list[list[tuple[str, str, int]]]:
    groups: list[list[tuple[str, str, int]]] = []
    size_bytes = 0
    for file in files:
        small = file[1].endswith(SMALL_SUFFIXES) and source.split_on is None
        fits = groups and size_bytes + file[2] <= GROUP_BYTES and len(groups[-1]) < GROUP_FILES
        if small and fits and Path(groups[-1][-1][1]).suffix == Path(file[1]).suffix:
            groups[-1].append(file)
            size_bytes += file[2]
        else:
            groups.append([file])
            size_bytes = file[2]
    return groups
