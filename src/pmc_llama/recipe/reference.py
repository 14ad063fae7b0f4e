"""The recipe's reference, generated from its types: `python -m pmc_llama.recipe.reference > docs/reference.md`."""

import builtins
import inspect
import json
import re
import types
import typing
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pmc_llama.recipe import Recipe
from pmc_llama.recipe.base import Section
from pmc_llama.recipe.effects import ARTEFACTS, HERE, effect_of

PLAIN_TYPES = {str: "text", int: "whole number", float: "number", bool: "true or false"}
INTRODUCTION = """# Recipe reference

Every key of a recipe, its type, its default and what it means. Generated from the code by `make docs`; a test keeps it
true.
Unknown keys are errors. `--set KEY=VALUE` on the command line overrides any key, as in `--set pretrain.lr=1e-5`.

`affects` says what is made again when a key's value changes: the corpus, the contamination report, the tokens, the
base, the pre-trained model, the tuned models, the scores, the report. *Its use* stands for what the section is used
for: in `pretrain` a learning rate affects the adapted model, in a regime the tuned ones. Keys that name files count by
the files' content. What affects nothing may change at any time, also between two calls of one training run.
"""


def render_reference() -> str:
    """The reference as Markdown: one table a section, in the order in which a recipe names them."""
    parts = [INTRODUCTION]
    for name, section in _sections():
        heading = f"`{name}`" if name else "The recipe"
        parts.append(f"## {heading}\n\n{_prose(inspect.getdoc(section) or '')}\n\n{_table(section)}\n")
    return "\n".join(parts)


def _sections() -> list[tuple[str, type[Section]]]:
    """Every kind of section once, under the path where it is met first."""
    found: dict[type[Section], str] = {}

    def visit(section: type[Section], path: str) -> None:
        if section in found:
            return
        found[section] = path
        for name, field in section.model_fields.items():
            inner, suffix = _inner(field.annotation)
            if inner is not None:
                visit(inner, f"{path}.{name}{suffix}".lstrip("."))

    visit(Recipe, "")
    return [(path, section) for section, path in found.items()]


def _table(section: type[Section]) -> str:
    rows = ["| key | type | default | affects | meaning |", "|---|---|---|---|---|"]
    for name, field in section.model_fields.items():
        meaning = _prose(field.description or "").replace("|", "\\|").replace("\n", " ")
        rows.append(f"| `{name}` | {_type(field.annotation)} | {_default(field)} | {_affects(field)} | {meaning} |")
    return "\n".join(rows)


def _inner(annotation: Any) -> tuple[type[Section] | None, str]:
    """The section inside a type, and how a path goes into it (`.<name>` for a mapping, `[]` for a list)."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, ""
    suffix = {dict: ".<name>", list: "[]"}.get(typing.cast(Any, get_origin(annotation)), "")
    for argument in get_args(annotation):
        inner, deeper = _inner(argument)
        if inner is not None:
            return inner, suffix + deeper
    return None, ""


def _type(annotation: Any) -> str:  # noqa: PLR0911 - one case a kind of type
    arguments = get_args(annotation)
    match get_origin(annotation):
        case typing.Literal:
            return ", ".join(f"`{value}`" for value in arguments)
        case typing.Union | types.UnionType:
            return " or ".join(_type(argument) for argument in arguments if argument is not type(None))
        case builtins.dict:
            return f"{_type(arguments[1])} a name"
        case builtins.list:
            return f"list of {_type(arguments[0])}"
        case builtins.tuple:
            return f"{len(arguments)} {'texts' if str in arguments else 'numbers'}"
        case _ if isinstance(annotation, type) and issubclass(annotation, Section):
            return "section"
        case _:
            return PLAIN_TYPES.get(annotation, "any")


def _affects(field: FieldInfo) -> str:
    effect = effect_of(field)
    named = [name for name in ARTEFACTS if name in effect.artefacts]
    return ", ".join([*(["its use"] if HERE in effect.artefacts else []), *named]) or "nothing"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined:
        return "none"
    if isinstance(value, Section):
        return "its defaults"
    return f"`{json.dumps(value)}`" if not isinstance(value, float) else f"`{value:g}`"


def _prose(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text).strip()


if __name__ == "__main__":
    print(render_reference(), end="")
