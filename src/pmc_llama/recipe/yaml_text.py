"""YAML as it may come from anybody: read without running anything, and bounded in size, depth and repetition."""

from collections.abc import Iterator
from typing import Any

import yaml

from pmc_llama.errors import RecipeError

LARGEST = 100_000
"""Values that a file may hold once its aliases are written out."""
DEEPEST = 100
MERGE = "tag:yaml.org,2002:merge"


def read_yaml(content: bytes, origin: str) -> Any:
    """The value of a YAML text.

    Raises RecipeError for what is not YAML, for a key that a mapping has twice (the first one would be dropped without
    a word), and for values that refer to themselves or grow beyond all bounds by aliases.
    """
    try:
        loader = yaml.SafeLoader(content.decode())
    except UnicodeDecodeError:
        raise RecipeError(f"{origin} is not valid YAML: it is not UTF-8 text") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{origin} is not valid YAML: {_one_line(error)}") from None
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _size(node, {}, ())
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise RecipeError(f"{origin} is not valid YAML: {_one_line(error)}") from None
    except (_Unusable, RecursionError) as error:
        reason = str(error) if isinstance(error, _Unusable) else "it is nested too deeply"
        raise RecipeError(f"{origin} cannot be used: {reason}") from None
    except ValueError as error:  # a date that is none, and other values that only look like one
        raise RecipeError(f"{origin} holds a value that cannot be read: {error}") from None
    finally:
        loader.dispose()


class _Unusable(Exception):
    """Why a text is not read."""


def _size(node: yaml.Node, known: dict[int, int], above: tuple[int, ...]) -> int:
    """How many values a node holds with its aliases written out; each node is looked at once."""
    if id(node) in above:
        raise _Unusable(f"a value refers to itself (line {node.start_mark.line + 1})")
    if len(above) > DEEPEST:
        raise _Unusable(f"it is nested more than {DEEPEST} deep (line {node.start_mark.line + 1})")
    if id(node) not in known:
        if isinstance(node, yaml.MappingNode):
            _refuse_repeats(node)
        known[id(node)] = 1 + sum(_size(child, known, (*above, id(node))) for child in _children(node))
        if known[id(node)] > LARGEST:
            raise _Unusable(f"its aliases make more than {LARGEST:,} values of it (line {node.start_mark.line + 1})")
    return known[id(node)]


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair


def _refuse_repeats(node: yaml.MappingNode) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
            continue
        line = key.start_mark.line + 1
        if key.value in lines:
            raise _Unusable(
                f"the key {key.value!r} stands twice in one mapping, in lines {lines[key.value]} and {line}"
            )
        lines[key.value] = line


def _one_line(error: yaml.YAMLError) -> str:
    return " ".join(str(error).split())[:300]
