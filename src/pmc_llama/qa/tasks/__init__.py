"""Question sets: one file a data set, each turning the set's own files into `Question`s."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from pmc_llama.errors import InputError
from pmc_llama.qa.question import Question
from pmc_llama.qa.tasks.kind import Kind
from pmc_llama.qa.tasks.reading import say_once
from pmc_llama.recipe import question_sets
from pmc_llama.recipe.qa import TaskSection

Split = Literal["train", "test"]


def kind_of(task_format: str) -> Kind | None:
    """What is known of a question set; None for a format that has no line."""
    found: Kind | None = question_sets.kind_of(task_format) if task_format in question_sets.QUESTION_SETS else None
    return found


def load_questions(name: str, section: TaskSection, data_root: Path, split: Split) -> list[Question]:
    """Questions of one split of task `name`, in the file's order (PubMedQA's official test: in the official order).

    Raises InputError naming file, line and field of anything that is not as the format has it: a missing or wrong
    column, no gold answer, an id met twice, another number of options.
    """
    path = section.train if split == "train" else section.test
    if path is None:
        raise InputError(f"tasks.{name}: no file is given for its {split} split (key tasks.{name}.{split})")
    if not (data_root / path).exists() and path == question_sets.by_name(section.format).get(split):
        raise InputError(
            f"tasks.{name}: {data_root / path} is not there yet: pmc-llama qa download {section.format} -o {data_root}"
        )
    questions = question_sets.kind_of(section.format).load(data_root / path, section, data_root, split)
    if not questions:
        raise InputError(f"tasks.{name}: {data_root / path} holds no questions")
    if split == "test" and section.limit is not None:
        whole, questions = questions, _drawn(questions, section.limit)
        if one_label(questions) and not one_label(whole):
            say_once(f"task {name!r}: the {len(questions)} questions of `limit` all have the same answer")
    return [msgspec.structs.replace(question, task=name, format=section.format) for question in questions]


def one_label(questions: Sequence[Question]) -> bool:
    """Whether several questions all have the same right answer: the same word, or the same place among the options."""
    return len({one.question_id for one in questions}) > 1 and len({one.labels[one.gold] for one in questions}) == 1


def _drawn(questions: list[Question], count: int) -> list[Question]:
    """So many of the questions, always the same, in their order: files come sorted (PubMedQA's split label by label).

    A smaller draw is part of a larger one.
    """
    places = list(range(len(questions)))
    random.Random(0).shuffle(places)
    return [questions[place] for place in sorted(places[:count])]
