"""What a recipe's fields change: declared at each field, beside its type, and nowhere else.

A field is declared with `affects(...)`, or with `reads(...)` where its value names files, which count by their content
and not by their names. `HERE` stands for whatever the section is used for: a learning rate affects the base model in
`base.train`, the adapted one in `pretrain`, a tuned one in `regimes`. `NOTHING` is for what changes how work is done,
watched or kept safe, but not what comes out of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

Artefact = Literal["world", "corpus", "contamination", "tokens", "base", "pretrain", "tuning", "score", "report"]
"""What a run makes, in the order in which it makes it."""
ARTEFACTS: tuple[Artefact, ...] = get_args(Artefact)
HERE = "here"
Kind = Literal["files", "model", "tokenizer", "run"]


@dataclass(frozen=True)
class Effect:
    """The artefacts that a field changes, and how its value counts: as it stands, or by the files that it names."""

    artefacts: frozenset[str]
    reads: Kind | None = None

    def on(self, artefact: Artefact, here: bool) -> bool:
        """Whether it changes `artefact`, for a section that does (`here`) or does not."""
        return artefact in self.artefacts or (here and HERE in self.artefacts)

    def resolved(self, here: frozenset[Artefact]) -> frozenset[Artefact]:
        """The artefacts that it changes in a section that is used for `here`."""
        named = frozenset(name for name in ARTEFACTS if name in self.artefacts)
        return named | here if HERE in self.artefacts else named


def affects(*artefacts: Artefact | Literal["here"]) -> Effect:
    """The field's value changes these artefacts."""
    return Effect(frozenset(artefacts))


def reads(*artefacts: Artefact | Literal["here"], as_: Kind = "files") -> Effect:
    """The field names files, a model, a tokenizer or a run whose content changes these artefacts."""
    return Effect(frozenset(artefacts), as_)


NOTHING = Effect(frozenset())
UNDECLARED = Effect(frozenset({*ARTEFACTS, HERE}))
"""What a field without a declaration is taken for: no result outlives a change of it."""


@dataclass(frozen=True)
class Read:
    """One path, pattern or id that a recipe names, and where."""

    key: str
    value: str
    kind: Kind


def effect_of(field: Any) -> Effect:
    """The declaration of one field of a section (pydantic's FieldInfo)."""
    return next((note for note in field.metadata if isinstance(note, Effect)), UNDECLARED)


def is_declared(field: Any) -> bool:
    """Whether a field says what it affects."""
    return effect_of(field) is not UNDECLARED


def as_texts(value: Any) -> Iterator[str]:
    """The texts in a value that names files: one, several, or none."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from as_texts(one)
