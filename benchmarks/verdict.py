"""How often the statistics claim what is not there, in worlds where the truth is known.

A world draws questions, two methods, and their trainings: a question is easy or hard for everyone, suits one method
more than the other, and each training (pre-training, and tunings of it) shifts a method's accuracy as a whole by some
points. In null worlds both methods are equally good; at the gate the second one loses a chosen number of points. Each
world is judged as a run is: an interval and p for the unit that they are about, and the gate of a later revision.
Writes benchmarks/results/verdict.json: how often p < 0.05, how often the interval holds the truth of its unit, and how
often the gate refuses.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pmc_llama.environment import describe_environment
from pmc_llama.files import write_json
from pmc_llama.stats.equivalence import Measured, judge_losses, refusal_power
from pmc_llama.stats.seeds import Contrast, seeds_by_items

OUT = Path(__file__).parent / "results" / "verdict.json"
NORMAL = NormalDist()
MARGIN = 0.02


@dataclass(frozen=True)
class World:
    """What is drawn. Spreads are standard deviations of accuracy over trainings; 0.01 is one point."""

    name: str
    n: int = 4183
    tunings: int = 3
    pretrainings: int = 1
    tuning_spread: float = 0.01
    pretraining_spread: float = 0.0
    group: int = 1
    """Questions that share a passage, and what it does to both methods."""
    accuracy: float = 0.45
    alike: float = 0.75
    """Share of the variance of right and wrong that is the question's own, for both methods."""
    own: float = 0.15
    """Share that is the question's for one method; the rest is drawn anew by each training."""
    loss: float = 0.0


def draw(world: World, rng: np.random.Generator) -> tuple[list[NDArray[np.bool_]], float]:
    """Correctness [pre-trainings, tunings, n] of both methods, and the true difference of what can be compared.

    With one training of each, the truth is that of these models; with one pre-training that of its tunings.
    """
    start = NORMAL.inv_cdf(world.accuracy)
    per_point = 1 / NORMAL.pdf(start)  # of accuracy, on the scale of the hidden ability
    common, right, truths = _questions(world, rng), [], []
    for method in (0, 1):
        outer = world.pretrainings if method else 1
        hidden = np.sqrt(world.own) * _questions(world, rng) + np.sqrt(world.alike) * common
        drawn = rng.standard_normal((outer, world.tunings, world.n), dtype=np.float32)
        spread = world.pretraining_spread * per_point * method  # the base was pre-trained once, and is no draw
        before = spread * rng.standard_normal((outer, 1, 1))
        tuned = world.tuning_spread * per_point * rng.standard_normal((outer, world.tunings, 1))
        level = NORMAL.inv_cdf(world.accuracy - world.loss * method)
        right.append(np.sqrt(1 - world.alike - world.own) * drawn + hidden > -(level + before + tuned))
        over = 1 + (world.tuning_spread * per_point) ** 2  # what is averaged over widens the hidden scale
        if world.tunings == 1 and outer == 1:
            truths.append(NORMAL.cdf(level + float(before[0, 0, 0] + tuned[0, 0, 0])))
        elif outer == 1:
            truths.append(NORMAL.cdf((level + float(before[0, 0, 0])) / np.sqrt(over)))
        else:
            truths.append(NORMAL.cdf(level / np.sqrt(over + spread**2)))
    return right, truths[1] - truths[0]


def _questions(world: World, rng: np.random.Generator) -> NDArray[np.float32]:
    """A standard normal number per question; half of its variance is its group's."""
    own = rng.standard_normal(world.n, dtype=np.float32)
    if world.group == 1:
        return own
    groups = rng.standard_normal(world.n // world.group + 1, dtype=np.float32)
    return np.asarray(np.sqrt(0.5) * (own + np.repeat(groups, world.group)[: world.n]), dtype=np.float32)


def compared(world: World, right: list[NDArray[np.bool_]]) -> Contrast:
    """What a run would say of it."""
    groups = None if world.group == 1 else (np.arange(world.n) // world.group).tolist()
    return seeds_by_items(right[0], right[1], groups=groups)


def claims(world: World, worlds: int, seed: int = 0) -> dict[str, Any]:
    """How often p < 0.05, and how often the interval holds the truth of its unit."""
    rng, claimed, covered, widths, unit = np.random.default_rng(seed), 0, 0, [], ""
    for _ in range(worlds):
        right, truth = draw(world, rng)
        found = compared(world, right)
        claimed += found.p < 0.05
        covered += found.ci95[0] <= truth <= found.ci95[1]
        widths.append(found.ci95[1] - found.ci95[0])
        unit = found.unit
    row = {"name": world.name, "unit": unit, "worlds": worlds, "claimed": claimed / worlds}
    return row | {"coverage": covered / worlds, "width": float(np.median(widths))}


def gate(world: World, worlds: int, seed: int = 0) -> dict[str, Any]:
    """How often the gate refuses, and how often it had said that it would."""
    rng, refused, passed, said = np.random.default_rng(seed), 0, 0, []
    for _ in range(worlds):
        found = compared(world, draw(world, rng)[0])
        (judged,) = judge_losses([Measured(found.estimate, found.se, found.df)], MARGIN)
        refused += judged.state == "worse"
        passed += judged.state == "not worse"
        said.append(refusal_power(found.se, found.df, world.loss, MARGIN))
    row = {"name": world.name, "n": world.n, "seeds": world.tunings, "loss": world.loss, "worlds": worlds}
    return row | {"refused": refused / worlds, "shown_not_worse": passed / worlds, "said": float(np.mean(said))}


NULL_WORLDS = (
    *(World(f"tuning spread 1 point, {s} seeds", tunings=s) for s in (1, 2, 3, 5)),
    *(World(f"tuning spread {100 * s:g} points, 3 seeds", tuning_spread=s) for s in (0.005, 0.03)),
    *(
        World(f"pre-training spread 1 point, {p} pre-trainings of 3 tunings", pretrainings=p, pretraining_spread=0.01)
        for p in (1, 2, 3, 5)
    ),
    World("passages of 10 questions, 1 seed without spread", tunings=1, tuning_spread=0.0, group=10),
    World("passages of 10 questions, 3 seeds", group=10),
    World("passages of 10 questions, 5 seeds, n = 1,273", n=1273, tunings=5, group=10),
    World("3 seeds, n = 500", n=500),
)
REVISION = World("revision", alike=0.75, own=0.1)
GATES = tuple(
    replace(REVISION, name=f"{seeds} seeds, n = {n:,}, {100 * loss:g} points worse", n=n, tunings=seeds, loss=loss)
    for seeds in (1, 3, 5)
    for n in (500, 1273)
    for loss in (0.0, 0.02, 0.04)
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=2000, help="of each kind")
    options = parser.parse_args()
    rows = [claims(world, options.worlds, seed) for seed, world in enumerate(NULL_WORLDS)]
    gates = [gate(world, options.worlds, seed) for seed, world in enumerate(GATES)]
    print(f"{'null world':62} {'about':>7} {'claimed':>8} {'coverage':>9} {'width':>6}")
    for row in rows:
        shares = f"{100 * row['claimed']:7.1f} % {100 * row['coverage']:7.1f} % {100 * row['width']:6.1f}"
        print(f"{row['name']:62} {row['unit']:>7} {shares}")
    print(f"{'gate, margin 2 points':62} {'refused':>8} {'shown not worse':>16} {'power said':>11}")
    for row in gates:
        shares = f"{100 * row['refused']:6.1f} % {100 * row['shown_not_worse']:14.1f} % {100 * row['said']:9.1f} %"
        print(f"{row['name']:62} {shares}")
    environment = describe_environment()
    hardware = msgspec.structs.asdict(environment.hardware)
    write_json(OUT, {"hardware": hardware, "versions": environment.packages, "rows": rows, "gate": gates})


if __name__ == "__main__":
    main()
