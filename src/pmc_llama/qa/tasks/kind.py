"""What is known of a question set: how its files are read, how the harness shows it, and where it is on the hub."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pmc_llama.qa.body import Body, lettered
from pmc_llama.qa.question import Question
from pmc_llama.recipe.qa import TaskSection

Loader = Callable[[Path, TaskSection, Path, str], list[Question]]
"""From a file or folder, the task's section, the data's root and the split's name, to questions."""


class Source(NamedTuple):
    """A set's files on the hub. What is downloaded lies in the folder `qa/NAME` of the data's root."""

    repo: str
    license: str
    """As the data set's card has it."""
    files: Mapping[str, str]
    """The hub's path, where `*` stands for whatever it is, and the name here; `{}` in a name is the hub's folder."""
    test: str
    """The file or folder of the test questions, of those names."""
    train: str | None = None
    """That of the training questions, or of those that are meant to be shown as solved ones."""
    revision: str | None = None
    """The commit that was looked at (None: the newest at the first download, which is written down)."""
    questions: Mapping[str, int] = {}
    """How many each split of that commit has."""
    keys: Mapping[str, Any] = {}
    """Further keys of the task's section."""


class Kind(NamedTuple):
    """One question set."""

    load: Loader
    body: Callable[[Question], Body] = lettered
    """lm-evaluation-harness' prompt of it; of a set that the harness has not, MedQA's form."""
    source: Source | None = None
    shots_of_subject: bool = False
    """Whether a question's shots are of its own subject."""
    ids_are_pmids: bool = False
    """Whether questions are named after the articles that they were made from."""
    general: bool = False
    """Whether it is no medical set, and shows what is lost."""
