"""The shapes of an answer as OpenAI's clients read them: whole, or chunk by chunk."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pmc_llama.serve.jobs import Piece, Told
from pmc_llama.serve.text import token_text


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """How many tokens were read and written."""
    total = prompt_tokens + completion_tokens
    return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": total}


@dataclass
class Choice:
    """One prompt's answer as it comes."""

    index: int
    prompt_tokens: int
    prompt_text: str = ""
    """Of an echoed prompt."""
    begun: bool = False
    """Whether a chat's answer has shown anything but blanks, which are left out at its beginning."""
    offset: int = 0
    """Characters of the tokens whose log-probabilities were told."""
    tokens: int = 0


class Answer:
    """What is the same in all parts of one answer."""

    def __init__(self, *, chat: bool, request_id: str, model: str, tokenizer: Any, logprobs: bool) -> None:
        self.chat, self._tokenizer, self._logprobs = chat, tokenizer, logprobs
        prefix = "chatcmpl" if chat else "cmpl"
        self._head = {"id": f"{prefix}-{request_id}", "created": int(time.time()), "model": model}
        self._whole = "chat.completion" if chat else "text_completion"
        self._chunk = "chat.completion.chunk" if chat else "text_completion"

    def whole(self, choices: Sequence[Choice], received: Sequence[Sequence[Piece]]) -> dict[str, object]:
        """The body of an answer that is not streamed; `received` are the pieces of each choice."""
        found = []
        for choice, pieces in zip(choices, received, strict=True):
            text = self._shown(choice, "".join(piece.text for piece in pieces))
            text = choice.prompt_text + text
            said: dict[str, object] = {"text": text}
            if self.chat:
                said = {"message": {"role": "assistant", "content": text}}
            told = [one for piece in pieces for one in piece.told]
            choice.tokens = pieces[-1].tokens
            found.append(self._choice(choice, said, told, pieces[-1]))
        return {**self._head, "object": self._whole, "choices": found, "usage": self._usage(choices)}

    def chunk(self, choice: Choice, piece: Piece, *, first: bool = False) -> dict[str, object]:
        """One event of a stream."""
        text = self._shown(choice, piece.text)
        choice.tokens = piece.tokens
        said: dict[str, object] = {"text": text}
        if self.chat:
            said = {"delta": {"role": "assistant", "content": text} if first else {"content": text}}
        return {**self._head, "object": self._chunk, "choices": [self._choice(choice, said, piece.told, piece)]}

    def usage_chunk(self, choices: Sequence[Choice]) -> dict[str, object]:
        """The last event, if the request asked for it."""
        return {**self._head, "object": self._chunk, "choices": [], "usage": self._usage(choices)}

    def _shown(self, choice: Choice, text: str) -> str:
        if self.chat and not choice.begun:
            text = text.lstrip()
            choice.begun = bool(text)
        return text

    def _usage(self, choices: Sequence[Choice]) -> dict[str, int]:
        return usage(sum(one.prompt_tokens for one in choices), sum(one.tokens for one in choices))

    def _choice(self, choice: Choice, said: dict[str, object], told: Sequence[Told], piece: Piece) -> dict[str, object]:
        logprobs = self._told(choice, told) if self._logprobs else None
        return {"index": choice.index, **said, "logprobs": logprobs, "finish_reason": piece.finish}

    def _told(self, choice: Choice, told: Sequence[Told]) -> dict[str, object]:
        if self.chat:
            return {"content": [{**self._named(one.token, one.logprob), **self._top(one)} for one in told]}
        texts, offsets = [self._text(one.token) for one in told], []
        for text in texts:
            offsets.append(choice.offset)
            choice.offset += len(text)
        top = [None if one.logprob is None else self._table(one) for one in told]
        logprobs = [one.logprob for one in told]
        return {"tokens": texts, "token_logprobs": logprobs, "top_logprobs": top, "text_offset": offsets}

    def _table(self, one: Told) -> dict[str, float]:
        """Likeliest texts by their log-probability; of tokens with the same text, the likelier one's."""
        return {self._text(token): logprob for token, logprob in reversed(one.top)}

    def _top(self, one: Told) -> dict[str, object]:
        return {"top_logprobs": [self._named(token, logprob) for token, logprob in one.top]}

    def _named(self, token: int, logprob: float | None) -> dict[str, object]:
        text = self._text(token)
        return {"token": text, "logprob": logprob, "bytes": list(text.encode("utf-8", "replace"))}

    def _text(self, token: int) -> str:
        return token_text(self._tokenizer, token)
