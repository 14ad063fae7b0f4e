"""What all recipe sections share: typed, immutable, no unknown keys."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of a recipe. Unknown keys are errors, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True)

    without_effect: ClassVar[frozenset[str]] = frozenset()
    """Keys that change how work is watched or kept safe, but not what comes out of it."""

    def settings(self, exclude: frozenset[str] = frozenset()) -> dict[str, Any]:
        """What of this section decides a result, as plain values.

        Only what differs from the defaults, so that a key that a later version adds makes no finished work stale.
        """
        dumped = self.model_dump(mode="json", exclude_defaults=True, exclude=set(self.without_effect | exclude))
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Section) and name in dumped:
                dumped[name] = value.settings()
        return dumped
