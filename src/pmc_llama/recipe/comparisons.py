"""The two models that every run has, and which models are compared where a recipe does not say it."""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from pmc_llama.recipe.models import ModelSection
from pmc_llama.recipe.qa import RegimeSection

BASE, ADAPTED = "base", "adapted"
OWN_MODELS = (BASE, ADAPTED)
"""The models of the run itself: before and after continued pre-training."""
FURTHER_ADAPTED = re.compile(r"adapted-pretrain-(\d+)")
"""The adapted models of further pre-training seeds, in names of folders and cells."""
Pair = tuple[str, str]
"""Names of two models; a difference is the second's accuracy less the first's."""


def default_comparisons(models: Sequence[str]) -> list[Pair]:
    """Base against adapted, then every other model against adapted; without an adapted model, each against the last."""
    if not models:
        return []
    last = ADAPTED if ADAPTED in models else models[-1]
    return [(name, last) for name in in_order(models) if name != last]


def in_order(models: Sequence[str]) -> list[str]:
    """Each name once: base, adapted, then the others as they come."""
    return [name for name in OWN_MODELS if name in models] + [
        name for name in dict.fromkeys(models) if name not in OWN_MODELS
    ]


def check_models(models: Mapping[str, ModelSection], regimes: Mapping[str, RegimeSection]) -> None:
    """Raise ValueError for a further model that no regime asks, or a name that stands for two cells of the grid."""
    for name, section in models.items():
        if name in OWN_MODELS:
            raise ValueError(f"models names {name!r}, which is the run's own: {' and '.join(OWN_MODELS)} are taken")
        if FURTHER_ADAPTED.fullmatch(name):
            raise ValueError(f"models names {name!r}, which is what adapted models of further seeds are called")
        if regimes and not section.tuned and all(regime.tuned for regime in regimes.values()):
            hint = ", or tune it (`tuned: true`)" if section.local else ""
            raise ValueError(
                f"models.{name} is asked as it is, but every regime tunes: add a regime `{{kind: zero_shot}}`{hint}"
            )
        for part in section.merge.of if section.merge is not None else ():
            if part not in (*OWN_MODELS, *models):
                raise ValueError(f"models.{name}.merge names {part!r}, which is no model here{nearest(part, models)}")
            if part in models and models[part].kind not in ("folder", "run"):
                raise ValueError(f"models.{name}.merge names {part!r}, whose weights are not given by a path or run")
    cells: dict[str, tuple[str, str]] = {}
    for cell in [(regime, name) for regime in regimes for name in (*OWN_MODELS, *models)]:
        other = cells.setdefault("-".join(cell).lower(), cell)
        if other != cell:
            raise ValueError(
                f"regime {cell[0]!r} with model {cell[1]!r} and regime {other[0]!r} with model {other[1]!r} would have "
                "the same folder: rename one of them"
            )


def check_comparisons(comparisons: Sequence[Pair], models: Collection[str]) -> None:
    """Raise ValueError for a pair of models that cannot be compared."""
    for first, second in comparisons:
        for name in (first, second):
            if name not in models:
                raise ValueError(f"comparisons names {name!r}, which is no model here{nearest(name, models)}")
        if first == second:
            raise ValueError(f"comparisons compares {first!r} with itself")
    if len({frozenset(pair) for pair in comparisons}) < len(comparisons):
        raise ValueError("comparisons names the same two models twice")


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint at the known name that a wrong one is most like, or nothing."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""
