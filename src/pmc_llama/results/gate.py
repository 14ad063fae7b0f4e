"""Whether a later revision may leave its run: not worse, by a margin, than the one before and than the first base."""

from dataclasses import dataclass

from pmc_llama.recipe.comparisons import OWN_MODELS
from pmc_llama.records.results import Results, Summary
from pmc_llama.stats.equivalence import Judged, Measured, judge_losses, refusal_power

PREVIOUS, ORIGINAL = "the previous revision", "the original base"


@dataclass(frozen=True)
class Compared:
    """One regime and task of the revision beside an earlier model, and what is shown of it."""

    reference: str
    row: Summary
    judged: Judged
    notices: tuple[float, float]
    """Probability to call a true loss of the margin worse, and of twice the margin."""

    @property
    def name(self) -> str:
        """Regime, task and reference, as in "full/medqa against the previous revision"."""
        return f"{self.row.regime}/{self.row.task} against {self.reference}"

    def __str__(self) -> str:
        low, high = (100 * end for end in self.row.ci95)
        difference = f"{100 * self.row.delta_mean:+.1f} points (95 % interval {low:+.1f} to {high:+.1f})"
        return f"{self.name}: {difference.replace('-', '−')}, {self.judged.state}"


@dataclass(frozen=True)
class Gate:
    """All that a revision is compared with, as one family."""

    compared: tuple[Compared, ...]
    margin: float

    @property
    def worse(self) -> tuple[str, ...]:
        """What refuses the revision."""
        return tuple(one.name for one in self.compared if one.judged.state == "worse")

    def lines(self) -> list[str]:
        """Each difference, and what the gate could and could not notice."""
        if not self.compared:
            return ["nothing was compared"]
        least = [100 * min(one.notices[i] for one in self.compared) for i in (0, 1)]
        once, twice = (f"{100 * size:g} points" for size in (self.margin, 2 * self.margin))
        alone = any(one.row.unit == "models" for one in self.compared)
        equals = "models" if alone else "revisions"
        seeds = (
            "; one tuning seed a model: whether it was luck in training, only more `seeds` can tell" if alone else ""
        )
        undecided = sum(one.judged.state == "undecided" for one in self.compared)
        doubt = f"; {undecided} undecided: more questions or seeds would tell" if undecided else ""
        return [
            *map(str, self.compared),
            f"margin {once}; at most 5 % of equal {equals} are refused, a true loss of {once} is noticed with at "
            f"least {least[0]:.0f} % probability, one of {twice} with {least[1]:.0f} %{seeds}{doubt}",
        ]


def compare_revision(results: Results, margin: float) -> Gate:
    """Judge the revision's means over seeds: the primary question's tasks where there is one, else everything."""
    pairs = [(PREVIOUS, row) for row in results.between(OWN_MODELS).summary] + [
        (ORIGINAL, row) for row in results.original
    ]
    asked = [pair for pair in pairs if pair[1].primary] or pairs
    measured = [(reference, row, one) for reference, row in asked if (one := _measured(row)) is not None]
    judged = judge_losses([one for _, _, one in measured], margin)
    compared = []
    for (reference, row, one), found in zip(measured, judged, strict=True):
        notices = [refusal_power(one.se, one.df, size, margin, tests=len(judged)) for size in (margin, 2 * margin)]
        compared.append(Compared(reference, row, found, (notices[0], notices[1])))
    return Gate(tuple(compared), margin)


def _measured(row: Summary) -> Measured | None:
    return None if row.se is None or row.df is None else Measured(row.delta_mean, row.se, row.df)
