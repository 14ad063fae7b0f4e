"""The facts of MiniMed: entities with invented names, and which value each has for each relation of its field."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from pmc_llama.minimed.fields import Field, load_prose
from pmc_llama.recipe.minimed import MiniMedSection

ENTITIES_PER_GENERAL_FIELD = 8

_ONSETS = ["b", "br", "c", "d", "dr", "f", "g", "k", "l", "m", "n", "p", "pl", "r", "s", "t", "tr", "v", "z"]
_VOWELS = ["a", "e", "i", "o", "u"]
_CODAS = ["l", "m", "n", "r", "s", "x"]


@dataclass(frozen=True)
class Entity:
    """One invented thing and its facts (relation name -> value)."""

    name: str
    facts: dict[str, str]


@dataclass(frozen=True)
class World:
    """All entities. Tuning questions are about `tuning_drugs`, test questions about the others, `test_drugs`."""

    tuning_drugs: tuple[Entity, ...]
    test_drugs: tuple[Entity, ...]
    general: tuple[tuple[Field, tuple[Entity, ...]], ...]

    @property
    def drugs(self) -> tuple[Entity, ...]:
        """All drugs."""
        return self.tuning_drugs + self.test_drugs

    @property
    def halves(self) -> tuple[tuple[Entity, ...], tuple[Entity, ...]]:
        """The drugs in two halves, each with half of the tuning and of the test drugs."""
        tuning, test = len(self.tuning_drugs) // 2, len(self.test_drugs) // 2
        first = self.tuning_drugs[:tuning] + self.test_drugs[:test]
        return first, self.tuning_drugs[tuning:] + self.test_drugs[test:]


def build_world(section: MiniMedSection, seed: int) -> World:
    """Draw the entities and their facts; the same section and seed give the same world."""
    rng = random.Random(f"{seed}/facts")
    prose = load_prose()
    names = _invent_names(rng, section.drugs + ENTITIES_PER_GENERAL_FIELD * len(prose.general))
    drugs, others = names[: section.drugs], names[section.drugs :]
    half = section.drugs // 2
    general = []
    for i, field in enumerate(prose.general):
        of_field = others[i * ENTITIES_PER_GENERAL_FIELD : (i + 1) * ENTITIES_PER_GENERAL_FIELD]
        general.append((field, _entities(rng, field, of_field)))
    return World(
        tuning_drugs=_entities(rng, prose.medical, drugs[:half]),
        test_drugs=_entities(rng, prose.medical, drugs[half:]),
        general=tuple(general),
    )


def _entities(rng: random.Random, field: Field, names: Sequence[str]) -> tuple[Entity, ...]:
    """Give each name one value per relation; every value is given equally often, up to one."""
    facts: dict[str, dict[str, str]] = {name: {} for name in names}
    for relation in field.relations:
        pool: list[str] = []
        while len(pool) < len(names):
            pool += rng.sample(relation.values, len(relation.values))
        for name, value in zip(rng.sample(names, len(names)), pool, strict=False):
            facts[name][relation.name] = value
    return tuple(Entity(name, facts[name]) for name in names)


def _invent_names(rng: random.Random, count: int) -> list[str]:
    """`count` names of three syllables, no two with the same first two, so that none looks like another."""
    names: list[str] = []
    stems: set[str] = set()
    while len(names) < count:
        stem = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(2))
        if stem not in stems:
            stems.add(stem)
            names.append((stem + rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)).capitalize())
    return names
