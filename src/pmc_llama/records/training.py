"""What a training run writes of itself: one line per step and per held-out measurement, and a summary."""

from pathlib import Path

import msgspec


class Step(msgspec.Struct):
    step: int
    seconds: float = 0.0
    tokens_per_second: float = 0.0


class MetricsFile(msgspec.Struct):
    steps: list[Step]


def read_metrics(path: Path) -> MetricsFile:
    steps = {}
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            one = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        if "loss" in one:
            steps[one["step"]] = msgspec.convert(one, Step)
    return MetricsFile([steps[n] for n in sorted(steps)])


def trained_seconds(folder: Path) -> float:
    return sum(step.seconds for step in read_metrics(folder / "metrics.jsonl").steps)
