"""Reading a recipe: from a file that may be anything, with overrides, to types, with errors that name the key."""

import difflib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pmc_llama.errors import RecipeError
from pmc_llama.escape import without_secrets
from pmc_llama.recipe.base import Section
from pmc_llama.recipe.recipe import Recipe
from pmc_llama.recipe.shipped import find_recipe, shipped_names
from pmc_llama.recipe.yaml_text import read_yaml

SHOWN_CHARS = 120
"""Longest value that an error shows."""
SHOWN_PROBLEMS = 20


def load_recipe(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe, a file or one of the package's by name, and apply `key.path=value` overrides (values are YAML).

    Raises RecipeError naming the key path, the value, what was expected and the nearest right key.
    """
    path = find_recipe(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise RecipeError(f"recipe {path} does not exist{_nearest_file(path)}") from None
    except OSError as error:
        raise RecipeError(f"recipe {path} cannot be read: {error.strerror}") from None
    raw = read_yaml(content, f"recipe {path}")
    if not isinstance(raw, dict):
        raise RecipeError(f"recipe {path} must be a mapping of keys to values, not {type(raw).__name__}")
    for override in overrides or []:
        _apply_override(raw, override)
    return parse_recipe(raw, str(path))


def parse_recipe(raw: dict[str, Any], origin: str = "recipe") -> Recipe:
    """Check a recipe given as plain values. Raises RecipeError listing every wrong key and value."""
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        problems = [_explain(problem, raw) for problem in error.errors()]
        more = len(problems) - SHOWN_PROBLEMS
        lines = [f"  - {problem}" for problem in problems[:SHOWN_PROBLEMS]] + [f"  and {more} more"] * (more > 0)
        raise RecipeError("\n".join([f"{origin}:", *lines])) from None


def _apply_override(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set {shown(override)}: expected key.path=value, for example --set pretrain.lr=1e-5")
    node: Any = raw
    *parents, last = key.split(".")
    for parent in parents:
        child = node.get(parent) if isinstance(node, dict) else _list_item(node, parent, key)
        if child is None and isinstance(node, dict):
            child = node[parent] = {}
        if not isinstance(child, dict | list):
            raise RecipeError(f"--set {shown(override)}: {parent!r} holds the value {shown(child)}, not a section")
        node = child
    value = _yaml_value(key, text)
    if isinstance(node, list):
        _list_item(node, last, key)
        node[int(last)] = value
    else:
        node[last] = value


def _list_item(node: list[Any], index: str, key: str) -> Any:
    if not index.isdigit() or int(index) >= len(node):
        raise RecipeError(f"--set {key}: {index!r} is not a position in a list of {len(node)} (count from 0)")
    return node[int(index)]


def _yaml_value(key: str, text: str) -> Any:
    value = read_yaml(text.encode(), f"--set {key}: the value {shown(text)}") if text else None
    if isinstance(value, str):  # YAML 1.1 reads 1e-5 as text; people mean the number
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _explain(problem: Any, raw: dict[str, Any]) -> str:
    location = [str(part) for part in problem["loc"]]
    path = ".".join(location) or "recipe"
    if problem["type"] == "extra_forbidden":
        return (
            f"{path}: unknown key (value {shown(problem['input'])}){_nearest(location[-1], _fields_at(location[:-1]))}"
        )
    if problem["type"] == "missing":
        return f"{path}: required, but not given"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{path}: {message}" if location else message
    return f"{path}: {shown(problem['input'])} is not valid: {message[0].lower()}{message[1:]}"


def _fields_at(location: list[str]) -> list[str]:
    """The keys that the section at `location` knows."""
    model: Any = Recipe
    for part in location:
        model = (
            _inner_section(model.model_fields[part].annotation)
            if _is_section(model) and part in model.model_fields
            else model
        )
    return list(model.model_fields) if _is_section(model) else []


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _inner_section(annotation: Any) -> Any:
    """The Section inside `X`, `X | None`, `list[X]` or `dict[str, X]`."""
    if _is_section(annotation):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _inner_section(argument)
        if found is not None:
            return found
    return None


def shown(value: Any) -> str:
    """A value as an error shows it."""
    text = without_secrets(repr(value))
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"


def _nearest(word: str, known: Any) -> str:
    known = list(known)
    matches = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if matches:
        return f"; did you mean {matches[0]!r}?"
    return f"; known: {', '.join(known)}" if known else ""


def _nearest_file(path: Path) -> str:
    here = [found.name for found in sorted(path.parent.glob("*.yaml"))]
    return _nearest(path.name, here) if here else _nearest(path.stem, shipped_names())
