"""The three ways to get an answer from a server, the best first; each says when it is not offered.

`continuations` computes what scoring computes: the log-likelihood of each option's continuation. `first_letter` and
`written` ask a chat model, or one whose server keeps log-probabilities to itself.
"""

import math
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from pmc_llama.errors import InputError, RecipeError
from pmc_llama.qa.backends.endpoint_client import Client, Refused
from pmc_llama.qa.backends.endpoint_shapes import ChatAnswer, ChatLogprobs, TextLogprobs
from pmc_llama.qa.encoding import encode_instructions, encode_prompts
from pmc_llama.qa.forward import Value
from pmc_llama.qa.generate import Generated, read_answers
from pmc_llama.qa.prompts import Prompt
from pmc_llama.qa.question import Question
from pmc_llama.qa.score import Scored, lengths, scored
from pmc_llama.recipe.qa import EvaluateSection, GenerationSection

MOST_ALTERNATIVES = (20, 5)
"""How many of the likeliest tokens are asked for: OpenAI gives up to 20, some servers fewer."""
NEWER_LIMIT = "max_completion_tokens"

T = TypeVar("T")


class NotOffered(Exception):
    """The server, or the question, does not allow this way; says why."""


class Item(msgspec.Struct, frozen=True):
    """One question as it is asked."""

    question: Question
    prompt: Prompt
    evaluate: EvaluateSection
    tokenizer: Any = None


def continuations(client: Client, item: Item) -> Scored:
    """Log-likelihood of each option's continuation, from `/completions` with `echo` and `logprobs`.

    One request per option repeats context and continuation with each token's log-probability given all before it; those
    after the context are summed. With a tokenizer the server is sent the ids that local scoring uses, of which the
    first are cut where they pass `evaluate.max_length`. Without one it is sent texts: a further request counts the
    context's tokens, so that the continuation is what follows the context's length, as in lm-evaluation-harness.
    Raises NotOffered where the server refuses, repeats no prompt (as those do that ignore `echo`) or gives no
    log-probabilities, and for the prompt `chat` without a tokenizer, as only the server knows its template.
    """
    if item.tokenizer is None and item.prompt.chat:
        raise NotOffered("log-probabilities after the prompt `chat` need the model's `tokenizer`")
    values, counts, truncated = [], [], False
    for sent, start, cut in _wholes(client, item):
        logprobs, tops = _echoed(client, sent, start)
        values.append(Value(math.fsum(logprobs), all(one >= top for one, top in zip(logprobs, tops, strict=True))))
        counts.append(len(logprobs))
        truncated = truncated or cut
    divisors = lengths(item.prompt, counts, item.evaluate.normalise)
    return scored(item.question.question_id, values, divisors, truncated)


def _wholes(client: Client, item: Item) -> list[tuple[str | list[int], int, bool]]:
    """What to send for each option, the tokens of its context, and whether it lost its beginning."""
    if item.tokenizer is None:
        stem = item.prompt.context.rstrip()
        start = _tokens_of(client, stem)
        return [(item.prompt.context + one, start, False) for one in item.prompt.continuations]
    [encoded] = encode_prompts(item.tokenizer, [item.prompt])
    longest = _longest(client, item, beside=2)
    found: list[tuple[str | list[int], int, bool]] = []
    for part in encoded.continuations:
        keep = len(encoded.context) if longest is None else min(len(encoded.context), longest + 1 - len(part))
        if keep < 1:
            raise InputError(f"an option of {len(part)} tokens does not fit the maximum length of {longest} tokens")
        found.append(([*encoded.context[-keep:], *part], keep, keep < len(encoded.context)))
    return found


def _longest(client: Client, item: Item, beside: int) -> int | None:
    """Most tokens of a prompt: of the recipe's and the server's limit the smaller, less what comes beside it there."""
    served, limit = client.served.max_model_len, item.evaluate.max_length
    limits = [one for one in (limit, served and served - beside) if one is not None]
    return min(limits, default=None)


def _tokens_of(client: Client, text: str) -> int:
    answer = _offered(lambda: client.complete(prompt=text, max_tokens=1, temperature=0.0))
    if answer.usage is None:
        raise NotOffered("the server does not count a prompt's tokens, which a continuation is told apart by")
    return int(answer.usage.prompt_tokens)


def _echoed(client: Client, prompt: str | list[int], start: int) -> tuple[list[float], list[float]]:
    """Log-probability of each token of `prompt` from `start` on, and that of the likeliest token in its place."""
    answer = _offered(lambda: client.complete(prompt=prompt, max_tokens=1, temperature=0.0, echo=True, logprobs=1))
    given = _as(TextLogprobs, answer.choices[0].logprobs)
    counted = answer.usage.prompt_tokens if answer.usage else 0
    end = len(prompt) if isinstance(prompt, list) else int(counted)
    if given is None or len(given.token_logprobs) < max(end, 2):
        raise NotOffered("the server gives no log-probabilities of a prompt's own tokens (`echo` with `logprobs`)")
    logprobs = given.token_logprobs[start:end]
    if not logprobs or any(one is None for one in logprobs):
        raise NotOffered("the server's log-probabilities do not cover the options' tokens")
    tops = [max((listed or {}).values(), default=math.inf) for listed in (given.top_logprobs or [])[start:end]]
    known = [float(one) for one in logprobs if one is not None]
    return known, tops if len(tops) == len(known) else [math.inf] * len(known)


def first_letter(client: Client, item: Item) -> Scored | Generated:
    """Log-probability that the answer's first token is an option's letter, from `/chat/completions`.

    The prompt is a user's turn; of the likeliest first tokens (`top_logprobs`), those that are a letter with or
    without blanks around it are added up. Where all letters are listed they are scores like others; where some are
    missing the likeliest listed one is chosen and no scores are given, for nothing is known of the others; where none
    is listed the question counts as unanswered. Raises NotOffered where options are not letters, and where the server
    refuses or lists nothing.
    """
    labels = item.question.labels
    letters = not item.question.words and tuple(one.strip() for one in item.prompt.continuations) == labels
    if not letters:
        raise NotOffered("log-probabilities of a first token tell options apart only where these are letters")
    listed = _first_tokens(client, item)
    found: dict[str, float] = {}
    for token, logprob in listed:
        letter = token.strip()
        if letter in labels:
            found[letter] = logprob if letter not in found else _added(found[letter], logprob)
    if len(found) == len(labels):
        values = [Value(found[letter], letter == listed[0][0].strip()) for letter in labels]
        return scored(item.question.question_id, values, [1] * len(labels), False)
    chosen = labels.index(max(found, key=found.__getitem__)) if found else -1
    text = labels[chosen] if found else listed[0][0]
    return Generated(item.question.question_id, (text,), (chosen,), chosen, tie=False)


def _first_tokens(client: Client, item: Item) -> list[tuple[str, float]]:
    """The likeliest first tokens, the likeliest first."""
    refusal = ""
    for count in MOST_ALTERNATIVES:
        try:
            answer = _chat(client, item, 1, temperature=0.0, logprobs=True, top_logprobs=count)
        except Refused as error:
            refusal = str(error)
            continue
        given = _as(ChatLogprobs, answer.choices[0].logprobs)
        places = given.content if given is not None else None
        if not places or not places[0].top_logprobs:
            raise NotOffered("the server lists no likeliest tokens (`top_logprobs`)")
        return sorted(((one.token, one.logprob) for one in places[0].top_logprobs), key=lambda one: -one[1])
    raise NotOffered(refusal)


def written(client: Client, item: Item) -> Generated:
    """What the model writes, read by `parse_answer`.

    The prompt `chat` goes to `/chat/completions`. Others go to `/completions` and are continued as they are; where the
    server has no such thing for this model, they are a user's turn, too. One sample is greedy; of more, each is drawn
    with a seed of its own, made from `generation.seed` and the question alone.
    """
    how = item.evaluate.generation
    named = f"{how.seed}/{item.question.task}/{item.question.question_id}"
    texts, truncated = [], False
    for number in range(how.samples):
        drawn: dict[str, Any] = {"temperature": 0.0}
        if how.samples > 1:
            seed = zlib.crc32(f"{named}/{number}".encode()) & 0x7FFFFFFF
            drawn = {"temperature": how.temperature, "top_p": how.top_p, "seed": seed}
        text, cut = _written_once(client, item, how, drawn)
        texts.append(text)
        truncated = truncated or cut
    return read_answers(item.question, texts, truncated=truncated)


def _written_once(client: Client, item: Item, how: GenerationSection, drawn: dict[str, Any]) -> tuple[str, bool]:
    """One text, and whether the prompt lost its beginning."""
    if not item.prompt.chat and not client.chats_only:
        prompt, cut = _instruction(client, item, how)
        try:
            text = client.complete(prompt=prompt, max_tokens=how.max_new_tokens, **drawn).choices[0].text
        except Refused:
            if client.completes:
                raise
        else:
            client.completes = True
            return text, cut
    text = _chat(client, item, how.max_new_tokens, **drawn).choices[0].message.content or ""
    client.chats_only = client.chats_only or not item.prompt.chat
    return text, False


def _instruction(client: Client, item: Item, how: GenerationSection) -> tuple[str | list[int], bool]:
    """The prompt to write after, as ids where there is a tokenizer, and whether it lost its beginning."""
    if item.tokenizer is None:
        return item.prompt.instruction, False
    [ids] = encode_instructions(item.tokenizer, [item.prompt])
    longest = _longest(client, item, beside=0)
    room = len(ids) if longest is None else longest - how.max_new_tokens
    if room < 1:
        raise RecipeError(f"evaluate.generation.max_new_tokens: {how.max_new_tokens} leave no room for a question")
    return ids[-room:], len(ids) > room


def _chat(client: Client, item: Item, most: int, **body: Any) -> ChatAnswer:
    """The prompt as a user's turn, answered in at most so many tokens; newer models call that limit otherwise."""
    messages = [{"role": "user", "content": item.prompt.instruction}]
    try:
        return client.chat(messages=messages, **{client.limit: most}, **body)
    except Refused as refused:
        if client.limit == NEWER_LIMIT or NEWER_LIMIT not in str(refused):
            raise
    client.limit = NEWER_LIMIT
    return client.chat(messages=messages, **{client.limit: most}, **body)


def _as(kind: type[T], logprobs: Any) -> T | None:
    """Log-probabilities as OpenAI has them; None for those of other forms, and where there are none."""
    try:
        return None if logprobs is None else msgspec.convert(logprobs, kind)
    except msgspec.ValidationError:
        return None


def _offered(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except Refused as refused:
        raise NotOffered(str(refused)) from None


def _added(one: float, other: float) -> float:
    """Log of the sum of two probabilities given by their logs."""
    high, low = max(one, other), min(one, other)
    return high + math.log1p(math.exp(low - high))


WAYS: dict[str, Callable[[Client, Item], Scored | Generated]] = {
    "log-probabilities of continuations": continuations,
    "log-probability of the first letter": first_letter,
    "written answers": written,
}
"""By what the table of models says of them, the best first."""
