"""What all recipe sections share: typed, immutable, no unknown keys, and each field says what it affects."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, model_validator

from pmc_llama.recipe.effects import Artefact, Read, as_texts, effect_of


class Section(BaseModel):
    """A part of a recipe. Unknown keys are errors, values do not change after loading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _true_is_not_a_number(cls, raw: Any) -> Any:
        for name, value in raw.items() if isinstance(raw, dict) else ():
            field = cls.model_fields.get(name)
            if field is not None and _holds_bool(value) and _is_number(field.annotation):
                raise ValueError(f"{name}: {value!r} is not a number")
        return raw

    def settings(self, for_: Artefact) -> dict[str, Any]:
        """What of this section decides an artefact, as plain values; the only source for stamps and identities.

        Only what differs from the defaults, so that a key that a later version adds makes no finished work stale. Files
        count by content, so their names are left out here (see `reads`). What is declared with HERE counts: ask the
        section above where this one is used for other artefacts.
        """
        return _settings(self, for_, here=True)

    def reads(self, for_: Artefact, key: str = "") -> list[Read]:
        """The files, models, tokenizers and runs that this section names and that an artefact is made from."""
        return list(_reads(self, for_, key, here=True))


def _holds_bool(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, list) and any(isinstance(one, bool) for one in value))


def _is_number(annotation: Any) -> bool:
    """Whether a type takes numbers, or lists of them, and neither true nor false."""
    kinds = {annotation, *get_args(annotation), *(inner for one in get_args(annotation) for inner in get_args(one))}
    return bool(kinds & {int, float}) and bool not in kinds


def _settings(section: Section, artefact: Artefact, *, here: bool) -> dict[str, Any]:
    plain = section.model_dump(mode="json")
    found: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        effect, value = effect_of(field), getattr(section, name)
        counts = effect.on(artefact, here)
        if _has_sections(value):
            inner = _inner(value, artefact, here=counts)
            if inner or (counts and field.get_default(call_default_factory=True) is None):
                found[name] = inner
        elif counts and effect.reads is None and value != field.get_default(call_default_factory=True):
            found[name] = plain[name]
    return found


def _inner(value: Any, artefact: Artefact, *, here: bool) -> Any:
    """The settings inside a section, a list of sections or sections by name; empty ones by name are left out."""
    if isinstance(value, Section):
        return _settings(value, artefact, here=here)
    if isinstance(value, list):
        inner = [_settings(one, artefact, here=here) for one in value]
        return inner if here or any(inner) else []
    named = {name: _settings(one, artefact, here=here) for name, one in value.items()}
    return {name: inner for name, inner in named.items() if inner or here}


def _reads(section: Section, artefact: Artefact, key: str, *, here: bool) -> Iterator[Read]:
    for name, field in type(section).model_fields.items():
        effect, value, path = effect_of(field), getattr(section, name), f"{key}.{name}".lstrip(".")
        counts = effect.on(artefact, here)
        if _has_sections(value):
            for inner, one in _sections(value):
                yield from _reads(one, artefact, f"{path}{inner}", here=counts)
        elif counts and effect.reads is not None:
            yield from (Read(path, text, effect.reads) for text in as_texts(value))


def _has_sections(value: Any) -> bool:
    if isinstance(value, dict):
        return any(isinstance(one, Section) for one in value.values())
    if isinstance(value, list):
        return any(isinstance(one, Section) for one in value)
    return isinstance(value, Section)


def _sections(value: Any) -> Iterator[tuple[str, Section]]:
    """(how the path goes on, section) of a section, a list of sections, or sections by name."""
    if isinstance(value, Section):
        yield "", value
    elif isinstance(value, list):
        yield from ((f".{number}", one) for number, one in enumerate(value))
    else:
        yield from ((f".{name}", one) for name, one in value.items())
