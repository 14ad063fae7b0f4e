"""`results.json`: accuracies and comparisons, computed from the predictions alone."""

from pathlib import Path
from typing import Any

import msgspec

from pmc_llama.files import read_record

Interval = tuple[float, float]


class Accuracy(msgspec.Struct, frozen=True):
    """One model's answers to one task, for one regime and seed."""

    model: str
    regime: str
    seed: int
    task: str
    protocol: str
    """`in_domain` where the task's own training questions were tuned on, else `out_of_domain`."""
    n: int
    correct: int
    accuracy: float
    ci95: Interval
    """Wilson."""
    macro_f1: float
    ece: float | None = None
    """Expected calibration error; None where no parsed answer has probabilities."""
    brier: float | None = None
    parse_rate: float = 1.0
    truncated: int = 0
    ties: int = 0
    macro_f1_ci95: Interval | None = None
    """Bootstrap."""
    ece_ci95: Interval | None = None
    """Bootstrap."""
    ece_floor: float | None = None
    """The ECE that these probabilities would have if each were exactly right."""


class Difference(msgspec.Struct):
    """Base against adapted on the same questions, for one regime, task and seed."""

    regime: str
    task: str
    seed: int
    n: int
    b: int
    """Questions that only the base answers right."""
    c: int
    """Questions that only the adapted model answers right."""
    delta: float
    """Accuracy of adapted less that of base."""
    ci95: Interval
    mcnemar_p: float
    holm_p: float = 1.0


class OverSeeds(msgspec.Struct):
    """Two models on the same questions over seeds: seeds and questions are both drawn by chance.

    Where two runs or other pairs are compared, `base` is the first of the two, `adapted` the second.
    """

    seeds: int
    n: int
    base_mean: float
    base_ci95: Interval
    adapted_mean: float
    adapted_ci95: Interval
    delta_mean: float
    delta_sd: float | None
    delta_min: float
    delta_max: float
    ci95: Interval
    p: float
    holm_p: float = 1.0
    se: float | None = None
    """Standard error of the difference, and its degrees of freedom."""
    df: float | None = None
    unit: str = "models"
    """What interval and p are about: these two `models`, these two models tuned again, or the `method`."""

    def mean(self, model: str) -> float:
        """Mean accuracy of `base` or `adapted`."""
        return self.base_mean if model == "base" else self.adapted_mean

    def mean_ci95(self, model: str) -> Interval:
        """Wilson's interval of that mean."""
        return self.base_ci95 if model == "base" else self.adapted_ci95


class Summary(OverSeeds, kw_only=True):
    """The comparison over seeds of one regime and task."""

    regime: str
    task: str
    protocol: str
    primary: bool = False
    """Whether it is part of the question that was fixed before the first score; else it is exploratory."""


class Baseline(msgspec.Struct, frozen=True):
    """What a constant answer scores on a task."""

    task: str
    n: int
    majority: float
    majority_label: str
    always_first: float
    majority_correct: int = 0
    always_first_correct: int = 0
    chance: float | None = None


class Results(msgspec.Struct, frozen=True):
    """All of it; a part that a run does not have is empty."""

    rows: list[Accuracy] = []
    comparisons: list[Difference] = []
    summary: list[Summary] = []
    uncontaminated: list[Summary] = []
    """The summary without the test questions that stand in what models were trained on."""
    original: list[Summary] = []
    """Of a later revision: its adapted model against the base that all revisions started from (in `base`)."""
    baselines: list[Baseline] = []
    made_from: dict[str, str] = {}
    """The models and texts that the answers come from: content hash by piece of work."""


def read_results(path: Path) -> Results:
    """A run's `results.json`; empty where there is none."""
    return read_record(path, Results) if path.is_file() else Results()


def fields(record: msgspec.Struct) -> dict[str, Any]:
    """A record's values by name, for tables."""
    return msgspec.structs.asdict(record)
