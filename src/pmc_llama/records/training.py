"""What a training run writes of itself: `metrics.jsonl`, one line per step and per measurement, and `summary.json`."""

from pathlib import Path
from typing import Any

import msgspec

from pmc_llama.files import read_record
from pmc_llama.run_dir import TrainingDir


class Measured(msgspec.Struct, frozen=True):
    """Loss on one held-out text, in nats per token."""

    loss: float
    perplexity: float | None
    """exp(loss); null in JSON where that is too large for a number."""
    tokens: int


class Step(msgspec.Struct, omit_defaults=True):
    """One optimizer step."""

    step: int
    lr: float
    tokens: int
    """Positions read, over all processes."""
    loss_tokens: int = 0
    """Positions that count for the loss."""
    coverage: float | None = None
    """Share of the distinct tokens seen at least once."""
    coverage_by_source: dict[str, float] = {}
    """The same per source of a mixture; `coverage/<source>` on disk."""
    loss: float | None = None
    """Mean per counted token before the update; null in JSON where it was not finite."""
    grad_norm: float | None = None
    seconds: float = 0.0
    tokens_per_second: float = 0.0
    memory_bytes: int = 0
    mfu: float | None = None
    skipped: bool = False


class Heldout(msgspec.Struct):
    """Held-out loss after a step, by text."""

    step: int
    heldout: dict[str, Measured]


class Metrics(msgspec.Struct):
    """The lines of one `metrics.jsonl`, each step once, in order."""

    steps: list[Step] = []
    heldout: list[Heldout] = []

    @property
    def heldout_names(self) -> list[str]:
        """The held-out texts, in the order in which they first appear."""
        return list(dict.fromkeys(name for record in self.heldout for name in record.heldout))

    def coverage_curves(self) -> dict[str, list[tuple[float, float]]]:
        """(step, share) of `all` text and of each source of a mixture, as far as they were recorded."""
        curves: dict[str, list[tuple[float, float]]] = {}
        for one in self.steps:
            of_all = {} if one.coverage is None else {"all": one.coverage}
            for name, share in (of_all | one.coverage_by_source).items():
                curves.setdefault(name, []).append((float(one.step), share))
        return curves

    def loss_curve(self) -> list[tuple[float, float]]:
        """(step, training loss)."""
        return [(float(one.step), one.loss) for one in self.steps if one.loss is not None]

    def heldout_curve(self, name: str, key: str) -> list[tuple[float, float]]:
        """(step, `loss` or `perplexity`) on one held-out text."""
        measured = [(float(one.step), one.heldout.get(name)) for one in self.heldout]
        values = [(step, getattr(found, key)) for step, found in measured if found is not None]
        return [(step, value) for step, value in values if value is not None]


class TrainSummary(msgspec.Struct, frozen=True):
    """What a finished training run says of itself."""

    steps: int
    loss: float
    """Of the last step, before its update."""
    heldout: dict[str, Measured]
    """The last measurement of each held-out text."""
    tokens: int
    """Positions processed by the call that finished it (less than the whole run's, if it was interrupted)."""
    tokens_per_second: float
    """Of that call's steps, held-out measurements not counted."""


class FinishedTraining(msgspec.Struct, frozen=True):
    """`summary.json`: the summary, and what makes two calls the same training run."""

    identity: Any
    summary: TrainSummary


COVERAGE = "coverage/"


def line_of(record: Step | Heldout) -> bytes:
    """A record as one line of `metrics.jsonl`."""
    value = msgspec.to_builtins(record)
    for name, share in value.pop("coverage_by_source", {}).items():
        value[f"{COVERAGE}{name}"] = share
    return msgspec.json.encode(value) + b"\n"


def read_metrics(path: Path) -> Metrics:
    """A `metrics.jsonl`; of a step logged twice (by a resumed run) the later record counts; a cut line is left out."""
    steps: dict[int, Step] = {}
    heldout: dict[int, Heldout] = {}
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            value = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        if "heldout" in value:
            heldout[value["step"]] = msgspec.convert(value, Heldout)
        else:
            value["coverage_by_source"] = {
                key.removeprefix(COVERAGE): value[key] for key in value if key.startswith(COVERAGE)
            }
            steps[value["step"]] = msgspec.convert(value, Step)
    return Metrics([steps[step] for step in sorted(steps)], [heldout[step] for step in sorted(heldout)])


def read_finished(path: Path) -> FinishedTraining | None:
    """A finished run's `summary.json`, or None where it is not finished."""
    return read_record(path, FinishedTraining) if path.is_file() else None


def trained_seconds(folder: Path) -> float:
    """Seconds that the steps of a training run took, over all calls that it took."""
    return sum(step.seconds for step in read_metrics(TrainingDir(folder).metrics).steps)
