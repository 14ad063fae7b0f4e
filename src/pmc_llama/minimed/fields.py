"""What there is to say in MiniMed: fields, their relations and the prose for both, read from `fields.yaml`."""

from functools import cache
from importlib.resources import files

import msgspec


class Relation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of fact: each entity of the field has exactly one of `values`."""

    name: str
    noun: str
    values: tuple[str, ...]
    phrases: tuple[str, ...]
    """Sentences without full stop that state the fact; {e} is the entity, {v} the value."""
    questions: tuple[str, ...]
    cases: tuple[str, ...] = ()
    """Vignettes of a patient ({age}, {person}) that ask for the value."""
    subject: str = "General"


class Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A field of research: its entities are of one `kind` and have the same relations."""

    kind: str
    titles: tuple[str, ...]
    aims: tuple[str, ...]
    fillers: tuple[str, ...]
    journals: tuple[str, ...]
    relations: tuple[Relation, ...]

    def relation(self, name: str) -> Relation:
        """The relation called `name`."""
        return next(relation for relation in self.relations if relation.name == name)


class Frames(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands around a stated fact {s} in each part of a paper."""

    abstract: tuple[str, ...]
    introduction: tuple[str, ...]
    results: tuple[str, ...]
    discussion: tuple[str, ...]
    hedged: tuple[str, ...]
    """For the null world: a statement that tells nothing."""


class Trial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sentences of short abstracts whose results answer a question with yes, no or maybe."""

    questions: tuple[str, ...]
    background: tuple[str, ...]
    methods: tuple[str, ...]
    results: dict[str, tuple[str, ...]]
    conclusions: dict[str, str]


class Authors(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names to sign papers with."""

    first: tuple[str, ...]
    last: tuple[str, ...]


class Prose(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of `fields.yaml`."""

    frames: Frames
    medical: Field
    signs: dict[str, str]
    """The typical sign of each condition, which a case may ask for instead of the condition."""
    sign_phrases: tuple[str, ...]
    sign_cases: tuple[str, ...]
    trial: Trial
    general: tuple[Field, ...]
    authors: Authors
    institutes: tuple[str, ...]


@cache
def load_prose() -> Prose:
    """The prose that comes with the package."""
    return msgspec.yaml.decode(files(__package__).joinpath("fields.yaml").read_bytes(), type=Prose)
