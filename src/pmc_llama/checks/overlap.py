"""Test questions that would be trained on: a file that is both is refused before anything is run."""

from collections.abc import Iterator, Set
from pathlib import Path

from pmc_llama.checks.common import told, written_later
from pmc_llama.files import sha256_file
from pmc_llama.qa.tasks import load_questions
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.inputs import input_files


def overlap_problems(recipe: Recipe, stages: Set[str]) -> Iterator[str]:
    """Test files that are training files too, by content, unless their splits have no question in common.

    PubMedQA's official splits are parts of one file. A task's own training split counts also where no regime tunes on
    it: shots are taken from it.
    """
    known: dict[Path, str] = {}
    tuned_on = [task for one in recipe.regimes.values() if one.tuned and not one.files for task in one.tasks]
    for name in recipe.tasks:
        test = _file(recipe, recipe.tasks[name].test)
        if test is None:
            continue
        for other in dict.fromkeys([*tuned_on, name]):
            train = _file(recipe, recipe.tasks[other].train)
            if train is not None and _same(test, train, known):
                shared = _shared(recipe, name, other)
                if shared:
                    yield (
                        f"tasks.{name}.test: {test} has the content of tasks.{other}.train, and {shared:,} of its "
                        "questions are in both: a model would be tested on what it is tuned on"
                    )
        for regime in recipe.regimes:
            if any(_same(test, file, known) for file in _instruction_files(recipe, regime)):
                yield (
                    f"regimes.{regime}.files: {test} is a file of test questions (tasks.{name}.test): a model would be "
                    "tested on what it is tuned on"
                )


def _file(recipe: Recipe, named: str | None) -> Path | None:
    """A question file that is there; MMLU's folders are none."""
    if named is None or written_later(recipe, named):
        return None
    path = recipe.data_root / named
    return path if path.is_file() else None


def _instruction_files(recipe: Recipe, regime: str) -> list[Path]:
    found: list[Path] = []
    if not any(written_later(recipe, file) for file in recipe.regimes[regime].files):
        with told([]):  # files that are not there are told by another check
            found = input_files(recipe.data_root, recipe.regimes[regime].files)
    return found


def _same(one: Path, other: Path, known: dict[Path, str]) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    for path in (one, other):
        if path not in known:
            known[path] = sha256_file(path)
    return known[one] == known[other]


def _shared(recipe: Recipe, test: str, train: str) -> int:
    """How many test questions are training questions too."""
    with told([]):
        questions = load_questions(train, recipe.tasks[train], recipe.data_root, "train")
        seen = {(one.question, one.options, one.context) for one in questions}
        asked = load_questions(test, recipe.tasks[test], recipe.data_root, "test")
        return sum((one.question, one.options, one.context) in seen for one in asked)
    return 0
