"""Prompts as token ids, the same for scoring and for tuning.

A continuation is never encoded alone, since tokenizers treat a leading blank differently there: the whole is encoded,
and the continuation is what follows the context's length. This is lm-evaluation-harness' way, so that its ids are ours.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import msgspec

from pmc_llama.errors import InputError, RecipeError
from pmc_llama.qa.prompts import Prompt


class Encoded(msgspec.Struct, frozen=True):
    """Token ids of a context (with the beginning-of-text token, if the tokenizer adds one) and of each continuation."""

    context: list[int]
    continuations: list[list[int]]


def encode_prompts(tokenizer: Any, prompts: Sequence[Prompt]) -> list[Encoded]:
    """Encode prompts with all their continuations; see `encode_all`."""
    return encode_all(tokenizer, [(_in_chat(tokenizer, one, one.context), one.continuations) for one in prompts])


def encode_solved(tokenizer: Any, prompts: Sequence[tuple[Prompt, int]]) -> list[Encoded]:
    """Encode prompts, each with the whole right answer (given by its option's index) as its only continuation."""
    pairs = []
    for prompt, gold in prompts:
        answer = prompt.lead + prompt.continuations[gold] + prompt.ending
        pairs.append((_in_chat(tokenizer, prompt, prompt.instruction), [answer]))
    return encode_all(tokenizer, pairs)


def encode_instructions(tokenizer: Any, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Encode what a model is given to write its own answer after."""
    return _token_ids(tokenizer, [_in_chat(tokenizer, one, one.instruction) for one in prompts])


def _in_chat(tokenizer: Any, prompt: Prompt, text: str) -> str:
    """The text, in the tokenizer's chat template if the prompt is a user's turn."""
    if not prompt.chat:
        return text
    if not getattr(tokenizer, "chat_template", None):
        raise RecipeError("prompt 'chat' needs a tokenizer with a chat template, and this model's has none")
    turns = [{"role": "user", "content": text}]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


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
    bos = tokenizer.bos_token
    bare = [bool(bos) and text.startswith(bos) for text in texts]
    ids: list[list[int]] = [[] for _ in texts]
    for special in (True, False):
        places = [i for i, has_bos in enumerate(bare) if has_bos is not special]
        if places:
            found = tokenizer([texts[i] for i in places], add_special_tokens=special, verbose=False)["input_ids"]
            for i, mine in zip(places, found, strict=True):
                ids[i] = mine
    return ids
