"""All that can be known before work begins: what a recipe names is looked at, and every mistake is told at once.

One file per subject, each a function in `CHECKS`; they ask the rules of the code that will do the work.
"""

from collections.abc import Collection, Iterator
from importlib import import_module
from typing import NamedTuple

from pmc_llama.errors import RecipeError
from pmc_llama.recipe import Recipe

TEXTS = frozenset({"general", "extra", "corpus"})
TRAINING = frozenset({"base", "pretrain", "finetune"})
ALL = TEXTS | TRAINING | {"contamination", "tokens", "merge", "prompts", "evaluate"}


class Check(NamedTuple):
    """One subject: the stages that need it, and the function that yields what is wrong, a sentence each.

    The function is named, and imported when it is needed: what looks at models takes seconds to import.
    """

    stages: frozenset[str]
    module: str
    function: str

    def problems(self, recipe: Recipe, stages: frozenset[str]) -> Iterator[str]:
        """What is wrong."""
        yield from getattr(import_module(f"pmc_llama.checks.{self.module}"), self.function)(recipe, stages)


CHECKS = (
    Check(TEXTS, "inputs", "corpus_problems"),
    Check(TEXTS | {"tokens", "pretrain"}, "inputs", "update_problems"),
    Check(frozenset({"tokens", "evaluate"}) | TRAINING, "models", "tokenizer_problems"),
    Check(TRAINING | {"evaluate"}, "models", "base_problems"),
    Check(frozenset({"finetune", "evaluate"}), "models", "adapter_problems"),
    Check(frozenset({"contamination", "finetune", "evaluate"}), "questions", "file_problems"),
    Check(frozenset({"contamination", "finetune", "evaluate"}), "overlap", "overlap_problems"),
    Check(frozenset({"finetune"}), "questions", "tuning_problems"),
    Check(frozenset({"evaluate"}), "questions", "asking_problems"),
    Check(frozenset({"merge", "prompts", "finetune", "evaluate"}), "further", "further_model_problems"),
    Check(TEXTS, "engines", "corpus_engine_problems"),
    Check(TRAINING, "engines", "training_engine_problems"),
    Check(frozenset({"evaluate"}), "engines", "writing_engine_problems"),
    Check(ALL, "space", "space_problems"),
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
