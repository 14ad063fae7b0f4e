"""Tokens become text as they come: whole characters only, and nothing after a stop string."""

import codecs
import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

BROKEN = "\ufffd"
MARKS = [chr(0xFDD0 + n) for n in range(32)]
"""Code points that Unicode keeps free of characters."""
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class TextStream:
    """The text of one answer, handed out piece by piece.

    A piece is held back while it may still become part of a character or of a stop string. What was handed out never
    changes: joined, the pieces are the text. Special tokens are no text, but a stop string may hold them.
    """

    def __init__(self, tokenizer: Any, prompt_ids: Sequence[int], stops: Sequence[str]) -> None:
        self._decoder, self._marks = _Decoder(tokenizer, prompt_ids), dict[int, str]()
        self._stops = self._marked(tokenizer.get_added_vocab(), [stop for stop in stops if stop])
        self._hold = max((len(stop) - 1 for stop in self._stops), default=0)
        self._held = ""
        self.stopped = False

    def add(self, token: int) -> str:
        """The piece of text that is certain after `token`; sets `stopped` when a stop string has come."""
        self._held += self._decoder.add(token) + self._marks.get(token, "")
        return self._certain(self._hold)

    def finish(self) -> str:
        """What was held back, when no more tokens come."""
        if self.stopped:
            return ""
        self._held += self._decoder.finish()
        return self._certain(0)

    def _certain(self, hold: int) -> str:
        ends = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if ends:
            self.stopped = True
        cut = min(ends) if ends else max(0, len(self._held) - hold)
        piece, self._held = self._held[:cut], self._held[cut:]
        return "".join(char for char in piece if char not in self._marks.values()) if self._marks else piece

    def _marked(self, added: dict[str, int], stops: list[str]) -> list[str]:
        """The stop strings with one character for each special token in them, which is put where that token comes."""
        for content in sorted(added, key=len, reverse=True):
            if content and len(self._marks) < len(MARKS) and any(content in stop for stop in stops):
                mark = self._marks[added[content]] = MARKS[len(self._marks)]
                stops = [stop.replace(content, mark) for stop in stops]
        return stops


class _Decoder:
    """Text of tokens, one after another.

    Text is decoded behind the token before it, since tokenizers of LLaMA's kind drop a leading blank otherwise. Their
    tokens of single bytes are put together here: the library makes a whole run of them unreadable where one does not
    fit, also the characters that were complete.
    """

    def __init__(self, tokenizer: Any, prompt_ids: Sequence[int]) -> None:
        self._tokenizer, self._bytes = tokenizer, _byte_tokens(tokenizer)
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        words = len(prompt_ids)
        while words and prompt_ids[words - 1] in self._bytes:
            words -= 1
        for token in prompt_ids[words:]:  # a character that the prompt begins is not the answer's
            self._utf8.decode(bytes([self._bytes[token]]))
        self._before = list(prompt_ids[max(0, words - 1) : words])
        self._waiting: list[int] = []

    def add(self, token: int) -> str:
        """The text that is certain after `token`."""
        if token in self._bytes:
            return self._words(ends=True) + self._utf8.decode(bytes([self._bytes[token]]))
        broken = self._utf8.decode(b"", final=True)
        self._waiting.append(token)
        return broken + self._words()

    def finish(self) -> str:
        """What was held back."""
        return self._words(ends=True) + self._utf8.decode(b"", final=True)

    def _words(self, ends: bool = False) -> str:
        """Text of the waiting tokens, or nothing as long as it ends within a character that may be completed."""
        if not self._waiting:
            return ""
        text = self._decode(self._before + self._waiting)[len(self._decode(self._before)) :]
        if text.endswith(BROKEN) and not ends:
            return ""
        if text:  # a token without text, as a special one, is no place to go on behind
            self._before = self._waiting[-1:] if self._decode(self._waiting[-1:]) else self._before
            self._waiting = []
        elif self._decode(self._waiting[-1:]) == "":
            self._waiting.pop()
        return text

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True)) if ids else ""


@lru_cache(maxsize=4)
def _byte_tokens(tokenizer: Any) -> dict[int, int]:
    """The tokens that stand for one byte each (`<0x0A>`), where the tokenizer decodes them so."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    decoder = json.loads(backend.to_str())["decoder"] if backend is not None else None
    if "ByteFallback" not in json.dumps(decoder):
        return {}
    return {
        number: int(found[1], 16) for word, number in tokenizer.get_vocab().items() if (found := _BYTE.fullmatch(word))
    }


@lru_cache(maxsize=2**16)
def token_text(tokenizer: Any, token: int) -> str:
    """The text of one token as it stands within a text, with its leading blank; special tokens as they are written."""
    [*_, before] = tokenizer("a", add_special_tokens=False)["input_ids"]
    start = len(tokenizer.decode([before]))
    return str(tokenizer.decode([before, token]))[start:]
