"""A `tokenizer.json` in a form that gigatoken takes, where its own form is not one."""

from functools import cache
from typing import Any

SIZE_OF_PLANES_WITH_NUMBERS = 0x20000
"""Unicode's first two planes; the others hold ideographs and marks."""


class Refused(Exception):
    """This vocabulary is not for gigatoken; the text says why."""


def description_for_fast(description: dict[str, Any]) -> dict[str, Any]:
    """Rewrite a tokenizer's description (the JSON's value, which is changed) for gigatoken; returns it.

    A byte that a byte-level vocabulary lacks gets a number past the vocabulary's end, and so does a number's character
    other than a digit where each stands alone (SmolLM2's and StarCoder's rule): whoever encodes sees from such a number
    that the text is not for gigatoken. The digits become tokens that are cut out before anything is merged, which is
    what the rule says. Raises Refused for tokens that are looked for in text that was changed before.
    """
    model, added = description["model"], description.get("added_tokens") or []
    if model.get("type") != "BPE":
        raise Refused(f"the package gigatoken does not take vocabularies of the type {model.get('type')}")
    if any(token["normalized"] for token in added) and not _changes_blanks_only(description.get("normalizer")):
        raise Refused("its special tokens are looked for in normalised text")
    if model.get("byte_fallback"):
        return description
    end = 1 + max([*model["vocab"].values(), *(token["id"] for token in added)])
    model["vocab"] |= {byte: end + place for place, byte in enumerate(sorted(_byte_characters() - set(model["vocab"])))}
    parts = (description.get("pre_tokenizer") or {}).get("pretokenizers", [])
    if [part["type"] for part in parts] == ["Digits", "ByteLevel"] and parts[0]["individual_digits"]:
        if parts[1]["add_prefix_space"] or not parts[1].get("use_regex", True):
            raise Refused("the package gigatoken does not take its rule for digits")
        description |= {"pre_tokenizer": parts[1], "added_tokens": [*added, *_number_tokens(model["vocab"], added)]}
    return description


def _number_tokens(vocab: dict[str, int], added: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every character that is a number as a token: with the digits' ids, the others' past the vocabulary's end."""
    end = 1 + max([*vocab.values(), *(token["id"] for token in added)])
    known = {token["content"] for token in added}
    numbers = [number for number in _numbers_that_stand_alone() if number not in known]
    flags = {"special": True} | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return [
        {"id": vocab[number] if number.isascii() else end + place, "content": number} | flags
        for place, number in enumerate(numbers)
    ]


def _changes_blanks_only(normalizer: dict[str, Any] | None) -> bool:
    """Whether a string without blanks is in the text exactly where it is in the normalised text."""
    parts = [] if normalizer is None else normalizer.get("normalizers", [normalizer])
    return all(
        part["type"] == "Prepend" or (part["type"] == "Replace" and part["pattern"] == {"String": " "})
        for part in parts
    )


@cache
def _byte_characters() -> frozenset[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    return frozenset(ByteLevel.alphabet())


@cache
def _numbers_that_stand_alone() -> tuple[str, ...]:
    """The characters that `tokenizers` cuts out as numbers: asked of it, because it may know a newer Unicode."""
    from tokenizers.pre_tokenizers import Digits

    codes = (code for code in range(SIZE_OF_PLANES_WITH_NUMBERS) if not 0xD800 <= code < 0xE000)
    pieces = Digits(individual_digits=True).pre_tokenize_str("".join(f"{chr(code)}." for code in codes))
    return tuple(piece for piece, _ in pieces if len(piece) == 1 and piece != ".")
