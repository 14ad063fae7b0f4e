"""Records with odd values: a value of another type than the format's is left out, the rest of the record is read.

Only records that the strict decoder refuses come here, so that the usual ones cost nothing more.
"""

import functools
import json
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from pmc_llama.corpus.paper import Skip, Span

T = TypeVar("T")
BAD: Any = object()
"""In place of a value that is none of its type."""
TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")


def decode(decoder: msgspec.json.Decoder[T], content: bytes) -> tuple[T, int]:
    """A JSON record, and how many entries of its lists were left out as odd. Raises Skip when it is none."""
    try:
        return decoder.decode(content), 0
    except (msgspec.DecodeError, UnicodeDecodeError):  # ValidationError is a DecodeError
        return convert(parse(content), decoder.type, "bad_json")


def parse(content: bytes | str) -> Any:
    """JSON as other programs write it: NaN and Infinity are null, half a surrogate pair is U+FFFD.

    Raises Skip for anything else that is no JSON.
    """
    try:
        value = json.loads(content, parse_constant=lambda _: None)
        text = json.dumps(value, ensure_ascii=False)
        if text.isascii():
            return value
        try:
            text.encode()
        except UnicodeEncodeError:
            return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    except (ValueError, RecursionError):
        raise Skip("bad_json") from None
    return value


def convert(value: Any, type_: Any, reason: str) -> tuple[Any, int]:
    """A parsed record as `type_`, and the number of list entries left out. Raises Skip(`reason`) when it is none."""
    lost: list[Any] = []
    found = _convert(value, _info(type_), lost)
    if found is BAD:
        raise Skip(reason)
    return found, len(lost)


_info = functools.lru_cache(maxsize=None)(inspect.type_info)


def _convert(value: Any, info: inspect.Type, lost: list[Any]) -> Any:
    """The value as its type says, or BAD; odd entries of lists are left out and go to `lost`."""
    if isinstance(info, inspect.UnionType):
        return _one_of(value, info, lost)
    if isinstance(info, inspect.StructType):
        return _struct(value, info, lost)
    if isinstance(info, inspect.ListType):
        return _list(value, info, lost) if isinstance(value, list) else BAD
    if isinstance(info, inspect.DictType):
        found = {key: _convert(one, info.value_type, lost) for key, one in value.items()} if _is_dict(value) else BAD
        return found if found is BAD else {key: one for key, one in found.items() if one is not BAD}
    return _plain(value, info)


def _plain(value: Any, info: inspect.Type) -> Any:
    if isinstance(info, inspect.StrType):
        return value if isinstance(value, str) else BAD
    if isinstance(info, inspect.IntType):
        number = integer(value)
        inside = (
            number is not None and (info.ge is None or number >= info.ge) and (info.le is None or number <= info.le)
        )
        return number if inside else BAD
    if isinstance(info, inspect.FloatType):
        return value if isinstance(value, float) else BAD
    if isinstance(info, inspect.BoolType):
        said = str(value).lower()
        return True if said in TRUE else False if said in FALSE else BAD
    if isinstance(info, inspect.RawType):
        return msgspec.Raw(msgspec.json.encode(value))
    return value if isinstance(info, inspect.AnyType) else BAD


def _one_of(value: Any, info: inspect.UnionType, lost: list[Any]) -> Any:
    """The value itself where its own type is among those allowed, else the first that it can become, else None."""
    own = {str: inspect.StrType, int: inspect.IntType, float: inspect.FloatType}.get(type(value))
    members = sorted(info.types, key=lambda member: own is None or not isinstance(member, own))
    found = (_convert(value, member, lost) for member in members if not isinstance(member, inspect.NoneType))
    return next((one for one in found if one is not BAD), None if info.includes_none else BAD)


def _list(value: list[Any], info: inspect.ListType, lost: list[Any]) -> list[Any]:
    found = [_convert(one, info.item_type, lost) for one in value]
    good = [one for one in found if one is not BAD]
    lost.extend([BAD] * (len(found) - len(good)))
    return good


def _struct(value: Any, info: inspect.StructType, lost: list[Any]) -> Any:
    """A struct; a field that is missing or odd has its default, and without one the struct is BAD.

    So it is with fields of the struct's `needed`, where they are there with another type.
    """
    if not _is_dict(value):
        return BAD
    fields = {}
    for field in info.fields:
        given = value.get(field.encode_name)
        found = _convert(given, field.type, lost) if field.encode_name in value else BAD
        wrong = given is not None and found is None and field.name in getattr(info.cls, "needed", ())
        if wrong or (found is BAD and field.required):
            return BAD
        if found is not BAD:
            fields[field.name] = found
    return info.cls(**fields)


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def integer(value: Any) -> int | None:
    """A whole number given as number or digits (49, 49.0, "49"), else None."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.isascii() and value.strip().isdigit() and len(value) < 20:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def spans_of(kind: str, items: Any, offset: int, id_keys: tuple[str, str]) -> tuple[list[Span], int]:
    """The spans of an annotation list, and how many entries are none; a list that is null has none.

    `id_keys`: the names under which an entry or its attributes hold the id, the first that is there counts.
    """
    if not isinstance(items, list):
        return [], int(items is not None)
    found = [_span_of(kind, item, offset, id_keys) for item in items]
    spans = [span for span in found if span is not None]
    return spans, len(found) - len(spans)


def _span_of(kind: str, item: Any, offset: int, id_keys: tuple[str, str]) -> Span | None:
    start, end = (integer(item.get(key)) for key in ("start", "end")) if isinstance(item, dict) else (None, None)
    if start is None or end is None or abs(start) + abs(end) >= 2**40:
        return None
    inner = item.get("attributes")
    places = [inner, item] if isinstance(inner, dict) else [item]
    ref = next((_word(place.get(key)) for place in places for key in id_keys if _word(place.get(key))), None)
    number = next((_word(place.get("n")) for place in places if _word(place.get("n"))), None)
    return Span(kind, start + offset, end + offset, ref, number)


def _word(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int | float) and value != "" else None
