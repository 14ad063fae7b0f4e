"""Prompts as token ids, the same for scoring, tuning and serving.

A continuation is never encoded alone, since tokenizers treat a leading blank differently there: the whole is encoded,
and the continuation is what follows the context's length. This is lm-evaluation-harness' way, so that its ids are ours.

What people wrote is text: a question that contains `</s>` gets the ids of these characters, as a paper does. Only the
special tokens that a chat template writes are special. A text gets what the tokenizer puts before texts (BOS, if it
adds one), and nothing of what it puts behind them, for a prompt is to be continued.
"""

import re
import threading
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import msgspec

from pmc_llama.errors import InputError, RecipeError
from pmc_llama.model.templates import render
from pmc_llama.model.tokenizer import as_spelled, spelled_tokens
from pmc_llama.qa.prompts import Prompt

_OPEN, _CLOSE = "\ufdd0", "\ufdd1"  # code points that Unicode keeps free of characters
_MARKED = re.compile(f"{_OPEN}([^{_OPEN}{_CLOSE}]*){_CLOSE}|[{_OPEN}{_CLOSE}]")
_ONE_AT_A_TIME = threading.Lock()
"""Whether special tokens are seen is a state of the tokenizer, which the server's threads share."""


class Chat(msgspec.Struct, frozen=True):
    """What a chat template wrote; in what people wrote, special tokens stand between marks."""

    text: str


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
    return encode_texts(tokenizer, [_in_chat(tokenizer, one, one.instruction) for one in prompts])


def shown_context(tokenizer: Any, prompt: Prompt) -> str:
    """What a prompt's context is encoded from, for a person to read."""
    text = _in_chat(tokenizer, prompt, prompt.context)
    return _MARKED.sub(r"\1", text.text) if isinstance(text, Chat) else text


def render_chat(tokenizer: Any, messages: Sequence[dict[str, str]]) -> Chat:
    """Messages in the tokenizer's chat template, up to where the model is to answer.

    Raises InputError where the template refuses them, or takes too long over them.
    """
    turns = [{**message, "content": _mark(tokenizer, message["content"])} for message in messages]
    return Chat(render(tokenizer.get_chat_template(), turns, tokenizer.special_tokens_map))


def _in_chat(tokenizer: Any, prompt: Prompt, text: str) -> str | Chat:
    """The text, in the tokenizer's chat template if the prompt is a user's turn."""
    if not prompt.chat:
        return text
    if not getattr(tokenizer, "chat_template", None):
        raise RecipeError("prompt 'chat' needs a tokenizer with a chat template, and this model's has none")
    return render_chat(tokenizer, [{"role": "user", "content": text}])


def encode_all(tokenizer: Any, pairs: Sequence[tuple[str | Chat, Sequence[str]]]) -> list[Encoded]:
    """Encode contexts, each with its continuations, in one call of the tokenizer.

    Blanks at a context's end belong to its continuations. Raises InputError where a continuation gets no tokens.
    """
    texts: list[str | Chat] = []
    for context, continuations in pairs:
        if isinstance(context, Chat):
            texts.append(Chat(context.text.rstrip()))
            texts += [Chat(context.text + _mark(tokenizer, continuation)) for continuation in continuations]
        else:
            texts += [context.rstrip(), *(context + continuation for continuation in continuations)]
    ids = iter(encode_texts(tokenizer, texts))
    found = []
    for context, continuations in pairs:
        stem_ids = next(ids)
        parts = [whole[len(stem_ids) :] for whole in islice(ids, len(continuations))]
        for part, continuation in zip(parts, continuations, strict=True):
            if not part:
                shown = context.text if isinstance(context, Chat) else context
                raise InputError(
                    f"the tokenizer gives {continuation!r} no token of its own after {shown[-40:]!r},"
                    " so it cannot be scored"
                )
        found.append(Encoded(stem_ids, parts))
    return found


def encode_texts(tokenizer: Any, texts: Sequence[str | Chat], *, bos_in_chats: bool = True) -> list[list[int]]:
    """Ids of each text, behind what the tokenizer puts before texts.

    Chats that begin with BOS get no second one, and with `bos_in_chats` False chats have what the template writes.
    """
    if not texts:
        return []
    with _ONE_AT_A_TIME:
        before, bos = _put_before(tokenizer), tokenizer.bos_token
        plain = iter(_ids(tokenizer, [text for text in texts if not isinstance(text, Chat)], special=False))
        chats = iter(_chat_ids(tokenizer, [text.text for text in texts if isinstance(text, Chat)]))
    found = []
    for text in texts:
        if isinstance(text, Chat):
            has_bos = not bos_in_chats or (bool(bos) and text.text.startswith(bos))
            found.append([*([] if has_bos else before), *next(chats)])
        else:
            found.append([*before, *next(plain)])
    return found


def _put_before(tokenizer: Any) -> list[int]:
    """The ids that the tokenizer puts before a text: BOS or nothing, with most."""
    whole = tokenizer("a", verbose=False)["input_ids"]
    bare = _ids(tokenizer, ["a"], special=False)[0]
    starts = (i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return list(whole[: next(starts, 0)])


def _ids(tokenizer: Any, texts: Sequence[str], *, special: bool) -> list[list[int]]:
    """Ids of the texts alone; `special` tells whether special tokens in them are seen as such."""
    if not texts:
        return []
    how: dict[str, Any] = {"add_special_tokens": False, "split_special_tokens": not special, "verbose": False}
    spelled = {} if special else spelled_tokens(tokenizer)
    return [as_spelled(list(ids), spelled) for ids in tokenizer(list(texts), **how)["input_ids"]]


def _chat_ids(tokenizer: Any, chats: Sequence[str]) -> list[list[int]]:
    """Ids of rendered chats. One without marks is encoded whole, as transformers does."""
    whole = iter(_ids(tokenizer, [chat for chat in chats if not _MARKED.search(chat)], special=True))
    return [_pieces_ids(tokenizer, chat) if _MARKED.search(chat) else next(whole) for chat in chats]


def _pieces_ids(tokenizer: Any, chat: str) -> list[int]:
    """Ids of a chat with marks: what stands between a pair of them is text, all else is the template's way.

    Pieces are encoded behind a newline that is taken off again, for some tokenizers put a blank before what begins.
    """
    [newline] = _ids(tokenizer, ["\n"], special=True)
    found: list[int] = []
    for number, piece in enumerate(_MARKED.split(chat)):
        if not piece:
            continue
        special = number % 2 == 0
        alone, behind = _ids(tokenizer, [piece, "\n" + piece], special=special)
        continues = found and behind[: len(newline)] == newline
        found += behind[len(newline) :] if continues else alone
    return found


def _mark(tokenizer: Any, text: str) -> str:
    """The text with marks around whatever looks like a special token."""
    text = text.replace(_OPEN, "").replace(_CLOSE, "")
    return _special_texts(tokenizer, len(tokenizer)).sub(f"{_OPEN}\\g<0>{_CLOSE}", text)


@lru_cache(maxsize=2)
def _special_texts(tokenizer: Any, size: int) -> re.Pattern[str]:
    """A pattern of the special tokens, the longest first; `size` tells that tokens have been added since."""
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special and token.content}
    longest_first = sorted(special, key=lambda content: (-len(content), content))
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")  # which never matches
