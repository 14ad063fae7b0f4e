"""Tokens become text as they come: whole characters only, and nothing after a stop string."""

from collections.abc import Sequence
from typing import Any

BROKEN = "\ufffd"


class TextStream:
    """The text of one answer, handed out piece by piece.

    Text is decoded behind the prompt's last token, since tokenizers of LLaMA's kind drop a leading blank otherwise. A
    piece is held back while it may still become part of a character or of a stop string.
    """

    def __init__(self, tokenizer: Any, prompt_ids: Sequence[int], stops: Sequence[str]) -> None:
        self._tokenizer, self._stops = tokenizer, [stop for stop in stops if stop]
        self._ids = list(prompt_ids[-1:])
        self._before = len(self._decode())
        self._given = 0
        self._hold = max((len(stop) - 1 for stop in self._stops), default=0)
        self.stopped = False

    def add(self, token: int) -> str:
        """The piece of text that is certain after `token`; sets `stopped` when a stop string has come."""
        self._ids.append(token)
        text = self._decode()[self._before :]
        ends = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if ends:
            self.stopped = True
            return self._give(text[: min(ends)])
        if text.endswith(BROKEN):
            return ""
        return self._give(text[: len(text) - self._hold])

    def finish(self) -> str:
        """What was held back, when no more tokens come."""
        return "" if self.stopped else self._give(self._decode()[self._before :])

    def _give(self, text: str) -> str:
        piece = text[self._given :]
        self._given += len(piece)
        return piece

    def _decode(self) -> str:
        return str(self._tokenizer.decode(self._ids, skip_special_tokens=True))
