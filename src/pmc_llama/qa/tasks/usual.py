"""Question sets by name: the files that each has where it was unpacked, for questions without a recipe."""

from pathlib import Path
from typing import Any

from pmc_llama.errors import InputError
from pmc_llama.recipe.qa import TaskSection

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

    Raises InputError for an unknown name, and where its test questions are not there.
    """
    if name not in USUAL:
        raise InputError(f"task {name!r} is not known by name; known: {', '.join(USUAL)}")
    files = {key: value for key, value in USUAL[name].items() if isinstance(value, str)}
    other = {key: value for key, value in USUAL[name].items() if key not in files}
    for folder in FOLDERS:
        if (root / folder / files["test"]).exists():
            there = {key: str(Path(folder, file)) for key, file in files.items() if (root / folder / file).exists()}
            return TaskSection.model_validate({"format": name, **other, **there, **asked})
    places = " or ".join(str(root / folder / files["test"]) for folder in FOLDERS)
    raise InputError(f"task {name!r}: its test questions are not there; expected {places}")
