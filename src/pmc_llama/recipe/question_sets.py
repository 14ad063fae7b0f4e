"""Question sets by name: each is a file of its own below `pmc_llama.qa.tasks`, and one line here.

A line names the file lazily, so that a recipe is checked without loading any but those that it takes by name.
"""

import importlib
from pathlib import PurePosixPath
from typing import Any

QUESTION_SETS = {
    "pubmedqa": "pubmedqa:PUBMEDQA",
    "medmcqa": "medmcqa:MEDMCQA",
    "medqa": "medqa:MEDQA",
    "headqa": "headqa:HEADQA",
    "mmlu": "mmlu:MMLU",
    "bioasq": "bioasq:BIOASQ",
    "medxpertqa": "medxpertqa:MEDXPERTQA",
    "mmlu_pro": "mmlu_pro:MMLU_PRO",
    "mmlu_redux": "mmlu_redux:MMLU_REDUX",
    "medbullets": "medbullets:MEDBULLETS",
    "careqa": "careqa:CAREQA",
    "mmlu_all": "mmlu:MMLU_ALL",
    "arc_challenge": "arc:ARC_CHALLENGE",
    "arc_easy": "arc:ARC_EASY",
    "hellaswag": "hellaswag:HELLASWAG",
    "own": "own:OWN",
}
"""The formats that a task may have."""
FOLDER = "qa"
"""Where below the data's root downloaded sets lie, each in a folder of its name."""


def kind_of(name: str) -> Any:
    """What is known of a set (`pmc_llama.qa.tasks.kind.Kind`). Raises KeyError for a name that is not in a line."""
    module, _, constant = QUESTION_SETS[name].partition(":")
    return getattr(importlib.import_module(f"pmc_llama.qa.tasks.{module}"), constant)


def downloadable() -> list[str]:
    """The sets that are taken from the hub by name."""
    return [name for name in QUESTION_SETS if kind_of(name).source is not None]


def by_name(name: str) -> dict[str, Any]:
    """The keys of a task's section for a set where `pmc-llama qa download` puts it; none for one that is not there."""
    source = kind_of(name).source
    if source is None:
        return {}
    folder = PurePosixPath(FOLDER, name)
    train = {} if source.train is None else {"train": str(folder / source.train)}
    return {"format": name, "test": str(folder / source.test), **train, **source.keys}


def with_files(name: str, given: Any) -> Any:
    """A task as a recipe writes it; one that names no file is a set by name, and gets its files.

    The set is the task's `format`, else its name. Other keys that are given stand.
    """
    given = {} if given is None else given
    if not isinstance(given, dict) or given.get("test") is not None or given.get("train") is not None:
        return given
    named = given.get("format", name)
    if not isinstance(named, str) or named not in QUESTION_SETS:
        return given
    return by_name(named) | given


def question_modules() -> list[str]:
    """All modules that the lines name."""
    return sorted({f"pmc_llama.qa.tasks.{line.partition(':')[0]}" for line in QUESTION_SETS.values()})
