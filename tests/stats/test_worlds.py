"""The simulation of benchmarks/verdict.py, small: claims and refusals are as rare as they are said to be."""

from dataclasses import replace

import pytest
from benchmarks.verdict import GATES, NULL_WORLDS, World, claims, gate

WORLDS = 250
SMALLER = [replace(world, n=600) for world in NULL_WORLDS if world.pretrainings >= 3 or world.group > 1]
OF_A_METHOD = [
    world for world in [*NULL_WORLDS, *SMALLER] if world.n < 4183 and max(world.tunings, world.pretrainings) > 2
]


@pytest.mark.parametrize("world", OF_A_METHOD, ids=lambda world: f"{world.name}, n={world.n}")
def test_null_worlds_are_seldom_claimed_as_a_difference(world: World) -> None:
    row = claims(world, WORLDS)
    assert row["claimed"] <= 0.05 + 2.5 * (0.05 * 0.95 / WORLDS) ** 0.5
    assert 0.915 <= row["coverage"] <= 0.985


def test_without_the_seeds_the_same_worlds_would_often_be_claimed() -> None:
    """The intervals of one seed are right about their two models, and about no method."""
    row = claims(NULL_WORLDS[0], WORLDS)
    assert row["unit"] == "models"
    assert row["claimed"] > 0.25
    assert 0.915 <= row["coverage"] <= 0.985


def test_the_gate_lets_equals_pass_and_stops_a_loss_of_4_points() -> None:
    of = {(world.tunings, world.n, world.loss): world for world in GATES}
    equal, worse = (gate(of[3, 1273, loss], WORLDS) for loss in (0.0, 0.04))
    assert equal["refused"] <= 0.05 + 2.5 * (0.05 * 0.95 / WORLDS) ** 0.5
    assert worse["refused"] >= 0.8
    assert worse["said"] == pytest.approx(worse["refused"], abs=0.06)
