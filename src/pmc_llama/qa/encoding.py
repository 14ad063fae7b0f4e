"""Prompts as token ids, the same for scoring and for tuning.

A continuation is never encoded alone, since tokenizers treat a leading blank differently there: the whole is encoded,
and the continuation is what follows the context's length. This is lm-evaluation-harness' way, so that its ids are ours.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import msgspec

from pmc_llama.errors import InputError
from pmc_llama.qa.prompts import Prompt


class Encoded(msgspec.Struct, frozen=True):
    """Token ids of a context (with the beginning-of-text token, if the tokenizer adds one) and of each continuation."""

    context: list[int]
    continuations: list[list[int]]


def encode(tokenizer: Any, context: str, continuations: Sequence[str]) -> Encoded:
    """Encode one context with its continuations; see `encode_all`."""
    return encode_all(tokenizer, [(context, continuations)])[0]


def encode_prompts(tokenizer: Any, prompts: Sequence[Prompt]) -> list[Encoded]:
    """Encode prompts with all their continuations; see `encode_all`."""
    return encode_all(tokenizer, [(prompt.context, prompt.continuations) for prompt in prompts])


def encode_all(tokenizer: Any, pairs: Sequence[tuple[str, Sequence[str]]]) -> list[Encoded]:
    """Encode contexts, each with its continuations, in one call of the tokenizer.

    Blanks at a context's end belong to its continuations. Raises InputError where a continuation gets no tokens.
    """
    texts: list[str] = []
    for context, continuations in pairs:
        stem = context.rstrip()
        texts += [stem, *(context + continuation for continuation in continuations)]
    ids = iter(_token_ids(tokenizer, texts))
    found = []
    for context, continuations in pairs:
        stem_ids = next(ids)
        parts = [whole[len(stem_ids) :] for whole in islice(ids, len(continuations))]
        for part, continuation in zip(parts, continuations, strict=True):
            if not part:
                raise InputError(
                    f"the tokenizer gives {continuation!r} no token of its own after {context[-40:]!r},"
                    " so it cannot be scored"
                )
        found.append(Encoded(stem_ids, parts))
    return found


def _token_ids(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Ids of each text with the tokenizer's special tokens; texts that begin with BOS get no second one."""
    if not texts:
        return []
    bos = tokenizer.bos_token
    special = not (bos and texts[0].startswith(bos))
    encoded: list[list[int]] = tokenizer(texts, add_special_tokens=special, verbose=False)["input_ids"]
    return encoded
