"""The primary question: which one a recipe asks, which one holds, and whether it was changed after the first score."""

import msgspec

from pmc_llama.recipe import Recipe
from pmc_llama.recipe.qa import RegimeSection
from pmc_llama.records.primary import Primary
from pmc_llama.results.text import listing, percent_points


def primary_question(recipe: Recipe) -> Primary | None:
    """The question that a recipe asks; None for a recipe without regimes or test questions."""
    tested = [name for name, task in recipe.tasks.items() if task.test is not None]
    regime = recipe.primary.regime or first_full(recipe.regimes)
    if regime is None or not tested:
        return None
    return Primary(
        regime=regime, tasks=recipe.primary.tasks or tested, comparison=recipe.compared[0], margin=recipe.primary.margin
    )


def first_full(regimes: dict[str, RegimeSection]) -> str | None:
    """The first full tuning on all questions, else the first regime."""
    full = [name for name, section in regimes.items() if section.kind == "full" and section.fraction == 1]
    return next(iter([*full, *regimes]), None)


def in_force(written: Primary | None, asked: Primary | None, regimes: set[str]) -> Primary | None:
    """The question that the verdict answers: the one written down, unless its regime is gone; else the recipe's."""
    return written if written is not None and written.regime in regimes else asked


def changes(written: Primary | None, asked: Primary | None) -> str:
    """What the page says of a question that was changed, or written down, after the first score; mostly nothing."""
    if written is None or asked is None:
        return ""
    if msgspec.structs.replace(written, after_scores=False) != asked:
        models, margin = " against ".join(reversed(written.comparison)), percent_points(written.margin)
        return (
            f"The primary question was changed after the first score. Before it was: {models}, regime "
            f"{written.regime}, {listing(written.tasks)}, a margin of {margin}."
        )
    late = "The primary question was written down when there were scores already, by an earlier version of this run."
    return late if written.after_scores else ""
