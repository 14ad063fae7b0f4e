"""Question sets by name, for questions without a recipe: where each was unpacked, or else from the hub."""

from pathlib import Path
from typing import Any

from pmc_llama.errors import InputError
from pmc_llama.qa.download import download_set, told
from pmc_llama.recipe.qa import TaskSection
from pmc_llama.recipe.question_sets import by_name, downloadable

USUAL: dict[str, dict[str, Any]] = {
    "pubmedqa": {
        "train": "pubmedqa/ori_pqal.json",
        "test": "pubmedqa/ori_pqal.json",
        "test_ids": "pubmedqa/test_ground_truth.json",
        "fold": 0,
    },
    "medmcqa": {"train": "medmcqa/train.json", "test": "medmcqa/dev.json"},
    "medqa": {
        "train": "medqa/US/4_options/phrases_no_exclude_train.jsonl",
        "test": "medqa/US/4_options/phrases_no_exclude_test.jsonl",
    },
    "headqa": {"train": "headqa/train_HEAD_EN.json", "test": "headqa/dev_HEAD_EN.json"},
    "mmlu": {"test": "mmlu/test"},
    "bioasq": {"test": "bioasq/training11b.json"},
}
"""By the name of their format. Only the test questions must be there; the training split gives shots."""
FOLDERS = ("", "qa")
"""Where below the data's folder the sets may lie."""


def usual_task(name: str, root: Path, asked: dict[str, Any]) -> TaskSection:
    """A task by its name, with paths relative to `root`; `asked` holds the other keys of its section.

    The data set's own files are taken where they lie in `root`, else what was downloaded before, else it is downloaded.
    Raises InputError for an unknown name, and where its test questions cannot be had.
    """
    known = [*USUAL, *(one for one in downloadable() if one not in USUAL)]
    if name not in known:
        raise InputError(f"task {name!r} is not known by name; known: {', '.join(known)}")
    files = {key: value for key, value in USUAL.get(name, {}).items() if isinstance(value, str)}
    other = {key: value for key, value in USUAL.get(name, {}).items() if key not in files}
    for folder in FOLDERS if files else ():
        if (root / folder / files["test"]).exists():
            there = {key: str(Path(folder, file)) for key, file in files.items() if (root / folder / file).exists()}
            return TaskSection.model_validate({"format": name, **other, **there, **asked})
    section = by_name(name)
    if not section:
        places = " or ".join(str(root / folder / files["test"]) for folder in FOLDERS)
        raise InputError(f"task {name!r}: its test questions are not there; expected {places}")
    print(told(name, download_set(name, root), root), flush=True)
    return TaskSection.model_validate({**section, **asked})
