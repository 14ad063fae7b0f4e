"""Builds a text with spans from pieces, folding white space so that offsets stay right."""

import re

from pmc_llama.corpus.paper import Span

LOWER = re.compile("[a-z]{2,}")
ENDINGS = {"th", "st", "nd", "rd"}


ENDS = ".,;:)]"
BEGINS = "([,;:.?!"
"""Behind these a comma is left over when what stood between is left out."""
PAIRS = {")": "(", "]": "["}
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
            piece = self._close_gap(piece)
            if not piece:
                return
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

    def _close_gap(self, piece: str) -> str:
        """Set what follows a gap apart, or close it up; returns what is left of the piece."""
        gap, self._gap = self._gap, None
        if gap == "formula":
            word = LOWER.match(piece)
            if word is not None and word.group() not in ENDINGS:
                self._set_apart()
            return piece
        following, before = piece.lstrip()[:1] or " ", self.tail(2).rstrip(" \n")[-1:]
        if following not in ENDS:
            self._set_apart()
            return piece
        if (self.spans and self.spans[-1].end == self.length) or (piece[0].isspace() and before not in BEGINS):
            return piece
        return self._closed_up(piece.lstrip(), following, before)

    def _closed_up(self, piece: str, following: str, before: str) -> str:
        """Brackets around nothing go, and so does the second of two marks."""
        if before and before == PAIRS.get(following):
            self._drop_end(1)
            if piece[1:2] and piece[1:2] in ENDS:
                self._drop_end(0)
            return piece[1:]
        if following in ",;" and before in BEGINS:
            return piece[1:].lstrip() if self._after_space or before in "([" else piece[1:]
        self._drop_end(1 if following in ".)]" and before and before in ",;" else 0)
        return piece

    def _set_apart(self) -> None:
        if not self._after_space:
            self._append(" ")
            self._after_space = True

    def close_up(self) -> None:
        """Take a blank at the end away, unless a span ends with it."""
        if self.tail(1) == " " and not (self.spans and self.spans[-1].end == self.length):
            self._drop_end(0)

    def _drop_end(self, characters: int) -> None:
        """Take the blank at the end away, and so many characters before it."""
        kept = self.tail(characters + 1)
        kept = kept.rstrip(" ")[: -characters or None] if kept.endswith(" ") else kept[: -characters or None]
        length = self.length - (min(characters + 1, self.length) - len(kept))
        while self._pieces and self.length > length:
            piece = self._pieces.pop()
            self.length -= len(piece)
            if self.length < length:
                self._pieces.append(piece[: length - self.length])
                self.length = length
        self._after_space = self.tail(1) in ("", " ", "\n")

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
