"""All that can be known before work begins: what a recipe names is looked at, and every mistake is told at once.

One file per subject, each a function in `CHECKS`; they ask the rules of the code that will do the work.
"""

from collections.abc import Callable, Collection, Iterator, Set
from typing import NamedTuple

from pmc_llama.checks.engines import engine_problems
from pmc_llama.checks.inputs import corpus_problems, update_problems
from pmc_llama.checks.models import adapter_problems, base_problems, tokenizer_problems
from pmc_llama.checks.questions import asking_problems, file_problems, tuning_problems
from pmc_llama.checks.space import space_problems
from pmc_llama.errors import RecipeError
from pmc_llama.recipe import Recipe

TEXTS = frozenset({"general", "extra", "corpus"})
TRAINING = frozenset({"base", "pretrain", "finetune"})
ALL = TEXTS | TRAINING | {"contamination", "tokens", "evaluate"}


class Check(NamedTuple):
    """One subject: the stages that need it, and what is wrong, a sentence each."""

    stages: frozenset[str]
    problems: Callable[[Recipe, Set[str]], Iterator[str]]


CHECKS = (
    Check(TEXTS, corpus_problems),
    Check(TEXTS | {"tokens", "pretrain"}, update_problems),
    Check(frozenset({"tokens", "evaluate"}) | TRAINING, tokenizer_problems),
    Check(TRAINING | {"evaluate"}, base_problems),
    Check(frozenset({"finetune", "evaluate"}), adapter_problems),
    Check(frozenset({"contamination", "finetune", "evaluate"}), file_problems),
    Check(frozenset({"finetune"}), tuning_problems),
    Check(frozenset({"evaluate"}), asking_problems),
    Check(ALL, engine_problems),
    Check(ALL, space_problems),
)


def problems(recipe: Recipe, stages: Collection[str] | None = None) -> list[str]:
    """What is known to fail in these stages (None: all), each a sentence that begins with the recipe's key."""
    run = ALL if stages is None else frozenset(stages)
    found = [problem for check in CHECKS if check.stages & run for problem in check.problems(recipe, run)]
    return list(dict.fromkeys(found))


def check_recipe(recipe: Recipe, *, stages: Collection[str] | None = None) -> None:
    """Raise RecipeError that lists everything that is known to fail in these stages (None: all)."""
    found = problems(recipe, stages)
    if found:
        raise RecipeError("\n".join(["before anything is run:", *(f"  - {problem}" for problem in found)]))
