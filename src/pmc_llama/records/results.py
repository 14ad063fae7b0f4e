"""`results.json`: accuracies and comparisons, computed from the predictions alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from pmc_llama.files import read_record

Interval = tuple[float, float]
Side = Literal["first", "second"]
"""One of the two models of a comparison; differences are the second's less the first's."""


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
    pretrain_seed: int | UnsetType = UNSET
    """Of which adapted model, where several were pre-trained."""


class Mean(msgspec.Struct, frozen=True):
    """One model's accuracy on one task in one regime: the mean over seeds, with Wilson's interval over questions."""

    model: str
    regime: str
    task: str
    protocol: str
    seeds: int
    n: int
    mean: float
    ci95: Interval
    pretrainings: int | UnsetType = UNSET
    """Over how many adapted models, where several were pre-trained."""


class Difference(msgspec.Struct):
    """Two models on the same questions, for one regime, task and seed."""

    regime: str
    task: str
    seed: int
    n: int
    b: int
    """Questions that only the first model answers right."""
    c: int
    """Questions that only the second model answers right."""
    delta: float
    """Accuracy of the second less that of the first."""
    ci95: Interval
    mcnemar_p: float
    holm_p: float = 1.0
    first: str = "base"
    second: str = "adapted"
    pretrain_seed: int | UnsetType = UNSET
    """Of which adapted model, where several were pre-trained."""


class OverSeeds(msgspec.Struct):
    """Two models on the same questions over seeds: seeds and questions are both drawn by chance."""

    seeds: int
    """Tuning seeds."""
    n: int
    first_mean: float
    first_ci95: Interval
    second_mean: float
    second_ci95: Interval
    delta_mean: float
    delta_sd: float | None
    """Of the difference over the trainings that were repeated: pre-trainings where there are several, else tunings."""
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
    pretrainings: int | UnsetType = UNSET
    """How many adapted models were pre-trained, where there are several: the outermost level."""

    def mean(self, side: Side) -> float:
        """Mean accuracy of one of the two."""
        return self.first_mean if side == "first" else self.second_mean

    def mean_ci95(self, side: Side) -> Interval:
        """Wilson's interval of that mean."""
        return self.first_ci95 if side == "first" else self.second_ci95


class Summary(OverSeeds, kw_only=True):
    """The comparison over seeds of one regime and task."""

    regime: str
    task: str
    protocol: str
    first: str = "base"
    second: str = "adapted"
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
    means: list[Mean] = []
    comparisons: list[Difference] = []
    summary: list[Summary] = []
    uncontaminated: list[Summary] = []
    """The summary without the test questions that stand in what models were trained on."""
    original: list[Summary] = []
    """Of a later revision: its adapted model against the base that all revisions started from (in `base`)."""
    baselines: list[Baseline] = []
    made_from: dict[str, str] = {}
    """The models and texts that the answers come from: content hash by piece of work."""

    @property
    def models(self) -> list[str]:
        """The models that answered, in the order of the rows."""
        return list(dict.fromkeys(row.model for row in self.rows))

    @property
    def compared(self) -> list[tuple[str, str]]:
        """The pairs of models that are compared, the first and the second of each."""
        return list(dict.fromkeys((row.first, row.second) for row in self.summary))

    def between(self, pair: Sequence[str]) -> "Results":
        """The same with the comparisons of one pair of models alone."""
        first, second = pair
        mine = {
            part: [row for row in getattr(self, part) if (row.first, row.second) == (first, second)]
            for part in ("comparisons", "summary", "uncontaminated")
        }
        return msgspec.structs.replace(self, **mine)


def read_results(path: Path) -> Results:
    """A run's `results.json`; empty where there is none."""
    return read_record(path, Results) if path.is_file() else Results()


def fields(record: msgspec.Struct) -> dict[str, Any]:
    """A record's values by name, for tables."""
    return msgspec.structs.asdict(record)
