"""Many tests: what each p value becomes, so that the chance of any false claim stays at 5 %."""

from collections.abc import Collection, Sequence


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values, in the order given (S. Holm 1979)."""
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = largest
    return adjusted


def primary_apart(ps: Sequence[float], primary: Collection[int]) -> list[float]:
    """Adjusted p values where the hypotheses at the places `primary` were fixed before looking.

    The primary ones are a family of their own: a single one is tested alone, at the full 5 %. The others, which are
    exploratory, are corrected among themselves. Raises ValueError for a place that there is not.
    """
    if any(not 0 <= place < len(ps) for place in primary):
        raise ValueError(f"primary {sorted(primary)} is not among the places of {len(ps)} p values")
    adjusted = [0.0] * len(ps)
    for family in (sorted(primary), [place for place in range(len(ps)) if place not in primary]):
        for place, p in zip(family, holm([ps[one] for one in family]), strict=True):
            adjusted[place] = p
    return adjusted
