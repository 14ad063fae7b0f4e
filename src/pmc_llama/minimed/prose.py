"""Sentences about entities: a phrase that states the fact, inside a frame of the part of the paper it stands in."""

import random
from collections.abc import Sequence

from pmc_llama.minimed.facts import Entity
from pmc_llama.minimed.fields import Frames, Relation, load_prose


def statements(
    rng: random.Random, entity: Entity, relations: Sequence[Relation], part: str, *, facts: bool = True
) -> list[str]:
    """One sentence on each of `relations` of `entity`, for the `part` of a paper that `Frames` names.

    With `facts=False` each wonders about a value drawn at random, so that many such sentences together tell nothing.
    Marks ({cite}, {figure}, {table}) are left in.
    """
    frames: Frames = load_prose().frames
    choices = getattr(frames, part) if facts else frames.hedged
    ordered = rng.sample(choices, len(choices))
    written = []
    for i, relation in enumerate(relations):
        value = entity.facts[relation.name] if facts else rng.choice(relation.values)
        fact = fill(rng.choice(relation.phrases), e=entity.name, v=value)
        written.append(sentence(ordered[i % len(ordered)].replace("{s}", fact)))
    return written


def sentence(text: str) -> str:
    """`text` with a capital first letter."""
    return text[0].upper() + text[1:]


def fill(template: str, **values: object) -> str:
    """Replace `{name}` by its value for the names given; other braces stay."""
    for name, value in values.items():
        template = template.replace("{" + name + "}", str(value))
    return template


def filler(rng: random.Random, template: str, entity: Entity) -> str:
    """A sentence that states no fact: each {n} becomes a number of its own."""
    template = fill(template, e=entity.name)
    while "{n}" in template:
        template = template.replace("{n}", str(rng.randint(3, 90)), 1)
    return sentence(template)
