"""Builds a text with spans from pieces, folding white space so that offsets stay right."""

import re

from pmc_llama.corpus.paper import Span

LOWER = re.compile("[a-z]{2,}")
ENDINGS = {"th", "st", "nd", "rd"}


LONG = 80
"""Shorter pieces are split and joined sooner than looked at."""
BLANKS = b"\t\n\v\f\r\x1c\x1d\x1e\x1f"


def _is_folded(piece: str) -> bool:
    """Whether ASCII text has no blanks but single ones, which is found faster than words are split and joined."""
    if not piece.isascii() or "  " in piece:
        return False
    content = piece.encode("ascii")
    return len(content.translate(None, BLANKS)) == len(content)


class TextBuilder:
    """Appends pieces to one text; `length` is the offset where the next piece will stand."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.length = 0
        self._pieces: list[str] = []
        self._after_space = True
        self._gap: str | None = None

    def add(self, piece: str | None) -> None:
        """Append inline text; runs of white space become one blank, none stands at the beginning of a line."""
        if not piece:
            return
        if self._gap is not None:
            self._close_gap(piece)
        words = piece.strip(" ") if len(piece) > LONG and _is_folded(piece) else " ".join(piece.split())
        if piece[0].isspace() and not self._after_space:
            words = " " + words
        if piece[-1].isspace() and words and words != " ":
            words += " "
        if words:
            self._pieces.append(words)
            self.length += len(words)
            self._after_space = words[-1] == " "

    def gap(self) -> None:
        """Something is left out here: what comes next stands apart, unless it is the end of a clause."""
        self._gap = "left out"

    def formula(self, text: str) -> None:
        """A formula in the line; whole words beside it stand apart, `CO` before `3` and `th` behind `j` do not."""
        if text and text[0].isalnum() and self.tail(3).isalpha() and self.tail(3).islower():
            self._append(" ")
            self._after_space = True
        self.add(text)
        self._gap = "formula" if text else "left out"

    def _close_gap(self, piece: str) -> None:
        gap, self._gap, following = self._gap, None, piece[0]
        if gap == "formula":
            word = LOWER.match(piece)
            if word is not None and word.group() not in ENDINGS and not self._after_space:
                self._append(" ")
                self._after_space = True
            return
        ends_span = bool(self.spans) and self.spans[-1].end == self.length
        if following in ".,;:)]" and self._after_space and self._pieces and self._pieces[-1].endswith(" "):
            if not ends_span:
                self._pieces[-1] = self._pieces[-1][:-1]
                self.length -= 1
                self._after_space = False
        elif following not in ".,;:)]" and not self._after_space:
            self._append(" ")
            self._after_space = True

    def verbatim(self, text: str) -> int:
        """Append a text as it stands, for offsets that point into it; returns where it begins."""
        start = self.length
        if text:
            self._append(text)
            self._after_space = text[-1].isspace()
        return start

    def block(self, text: str, kind: str) -> None:
        """Append a whole line as one span; nothing for an empty one."""
        start = self.length
        self.add(text)
        self.span(kind, start, self.length)
        self.end_line()

    def span(
        self,
        kind: str,
        start: int,
        end: int,
        *,
        ref: str | None = None,
        number: str | None = None,
        depth: int | None = None,
    ) -> None:
        """Mark what was appended from `start` to `end`; empty spans are not kept."""
        if start < end:
            self.spans.append(Span(kind, start, end, ref, number, depth))

    def end_line(self) -> None:
        """End the line, if anything stands on it."""
        self._gap = None
        if self._pieces and self._pieces[-1] != "\n":
            self._append("\n")
            self._after_space = True

    def end_block(self) -> None:
        """End the line and leave an empty one."""
        self.end_line()
        if len(self._pieces) > 1 and self._pieces[-2:] != ["\n", "\n"]:
            self._append("\n")

    def last(self) -> str:
        """The text of the newest span."""
        if not self.spans:
            return ""
        span = self.spans[-1]
        return self.text()[span.start : span.end].strip()

    def tail(self, length: int) -> str:
        """The last `length` characters, or fewer when there are no more."""
        found = ""
        for piece in reversed(self._pieces):
            found = piece + found
            if len(found) >= length:
                break
        return found[-length:]

    def text(self) -> str:
        """Everything appended so far."""
        return "".join(self._pieces)

    def _append(self, piece: str) -> None:
        self._pieces.append(piece)
        self.length += len(piece)
