"""Question sets from the hub: at the commit that was looked at, counted, with hashes, and downloaded once.

A set lies in the folder `qa/NAME` of the data's root, with `origin.json` that says where it is from. What is whole
there is not asked for again; what was damaged is downloaded anew, from the same commit.
"""

import fnmatch
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from pmc_llama.errors import InputError
from pmc_llama.files import atomic_path, read_record, sha256_file, write_json
from pmc_llama.hub import hub_errors
from pmc_llama.qa.tasks import Split, load_questions
from pmc_llama.qa.tasks.kind import Source
from pmc_llama.recipe.qa import TaskSection
from pmc_llama.recipe.question_sets import FOLDER, QUESTION_SETS, by_name, downloadable, kind_of
from pmc_llama.records.question_sets import SetFile, SetOrigin

ORIGIN = "origin.json"


def download_set(name: str, root: Path) -> SetOrigin:
    """Bring a set's files into `root`/qa/`name`, unless they are there as they were downloaded; returns their origin.

    Raises InputError for a name that is no set of the hub's, where the hub cannot be asked or has other files, and for
    another number of questions than that commit has.
    """
    source = _source(name)
    folder = root / FOLDER / name
    known = read_record(folder / ORIGIN, SetOrigin) if (folder / ORIGIN).is_file() else None
    if known is not None and all(_is_whole(folder / file, facts) for file, facts in known.files.items()):
        return known
    revision = source.revision or (known.revision if known is not None else None)
    try:
        origin = _fetched(name, source, folder, revision)
    except hub_errors() as error:
        from huggingface_hub import constants

        why = " ".join(str(error).split())[:300]
        raise InputError(
            f"question set {name!r} is not in {folder}, and {constants.ENDPOINT} did not give {source.repo}: {why}"
        ) from None
    origin = msgspec.structs.replace(origin, questions=_counted(name, source, root))
    write_json(folder / ORIGIN, origin)
    return origin


def describe_sets() -> list[str]:
    """One line for each set that can be downloaded: name, kind, repository, licence."""
    lines = []
    for name in downloadable():
        kind = kind_of(name)
        about = "general" if kind.general else "medical"
        lines.append(f"{name:14} {about:8} {kind.source.license:14} {kind.source.repo}")
    return lines


def told(name: str, origin: SetOrigin, root: Path) -> str:
    """One line about a set that is here."""
    counts = ", ".join(f"{number:,} {split}" for split, number in origin.questions.items())
    where = f"{origin.repo}@{origin.revision[:12]}"
    return f"{name}: {counts} questions in {root / FOLDER / name}, from {where}, licence {origin.license}"


def _source(name: str) -> Source:
    if name not in QUESTION_SETS or kind_of(name).source is None:
        raise InputError(f"question set {name!r} is not known on the hub; known: {', '.join(downloadable())}")
    found: Source = kind_of(name).source
    return found


def _is_whole(path: Path, facts: SetFile) -> bool:
    return path.is_file() and path.stat().st_size == facts.bytes and sha256_file(path) == facts.sha256


def _fetched(name: str, source: Source, folder: Path, revision: str | None) -> SetOrigin:
    """Download the files of one commit into the folder."""
    from huggingface_hub import HfApi, hf_hub_download

    info = HfApi().dataset_info(source.repo, revision=revision)
    commit = str(info.sha)
    files: dict[str, SetFile] = {}
    for local, hub_path in _named(name, source, [one.rfilename for one in info.siblings or ()]).items():
        cached = hf_hub_download(source.repo, hub_path, repo_type="dataset", revision=commit)
        with atomic_path(folder / local) as partial:
            shutil.copyfile(cached, partial)
        path = folder / local
        files[local] = SetFile(hub_path, sha256_file(path), path.stat().st_size)
    return SetOrigin(source.repo, commit, _license(info, source), {}, files)


def _named(name: str, source: Source, there: list[str]) -> dict[str, str]:
    """The hub's paths by the names that they get here. Raises InputError where the hub has none, or several for one."""
    found: dict[str, str] = {}
    for pattern, local in source.files.items():
        matches = sorted(fnmatch.filter(there, pattern))
        several = "{}" in local
        if not matches or (len(matches) > 1 and not several):
            raise InputError(
                f"question set {name!r}: expected {'files' if several else 'one file'} {pattern} in {source.repo}, "
                f"found {len(matches)}"
            )
        found |= {local.format(PurePosixPath(path).parent.name): path for path in matches}
    return found


def _license(info: Any, source: Source) -> str:
    """What the card says now, else what it said when it was looked at."""
    card = info.card_data.to_dict() if info.card_data is not None else {}
    said = card.get("license") or source.license
    return ", ".join(said) if isinstance(said, list) else str(said)


def _counted(name: str, source: Source, root: Path) -> dict[str, int]:
    """Read all questions: how many each split has."""
    section = TaskSection.model_validate(by_name(name))
    splits: tuple[Split, ...] = ("test",) if source.train is None else ("test", "train")
    counts: dict[str, int] = {split: len(load_questions(name, section, root, split)) for split in splits}
    for split, expected in source.questions.items():
        if counts[split] != expected:
            raise InputError(
                f"question set {name!r}: its {split} split has {counts[split]:,} questions, not the {expected:,} that "
                f"{source.repo}@{source.revision} has"
            )
    return counts
