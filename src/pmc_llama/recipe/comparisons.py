"""The two models that every run has, and which models are compared where a recipe does not say it."""

from collections.abc import Sequence

BASE, ADAPTED = "base", "adapted"
OWN_MODELS = (BASE, ADAPTED)
"""The models of the run itself: before and after continued pre-training."""
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
