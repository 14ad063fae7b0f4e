"""Sentences about entities: a phrase that states the fact, inside a frame of the part of the paper it stands in."""

import random
from collections.abc import Sequence

from pmc_llama.minimed.facts import Entity
from pmc_llama.minimed.fields import Frames, Relation, load_prose

Fact = tuple[Entity, Relation]


def statements(rng: random.Random, facts: Sequence[Fact], part: str, *, told: bool = True) -> list[str]:
    """A sentence on each of `facts`, for the `part` of a paper that `Frames` names.

    With `told=False` each wonders about a value drawn at random, so that many such sentences together tell nothing.
    Marks ({cite}, {figure}, {table}) are left in.
    """
    frames: Frames = load_prose().frames
    choices = getattr(frames, part) if told else frames.hedged
    ordered = rng.sample(choices, len(choices))
    written = []
    for i, (entity, relation) in enumerate(facts):
        value = entity.facts[relation.name] if told else rng.choice(relation.values)
        stated = fill(rng.choice(relation.phrases), e=entity.name, v=value)
        written.append(sentence(ordered[i % len(ordered)].replace("{s}", stated)))
    return written


def sentence(text: str) -> str:
    """`text` with a capital first letter."""
    return text[0].upper() + text[1:]


def fill(template: str, **values: object) -> str:
    """Replace `{name}` by its value for the names given; other braces stay."""
    for name, value in values.items():
        template = template.replace("{" + name + "}", str(value))
    return template


def filler(rng: random.Random, template: str, names: Sequence[str] = ()) -> str:
    """A sentence that states no fact: {e} becomes the list of names, each {n} a number of its own."""
    template = fill(template, e=" and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names))
    while "{n}" in template:
        template = template.replace("{n}", str(rng.randint(3, 90)), 1)
    return sentence(template)
