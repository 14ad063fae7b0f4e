"""The fast encoder: the package gigatoken, used where its ids are shown to be the reference library's.

It is trusted with nothing unseen: it is compared on texts made to tell tokenizers apart when it is loaded and on
documents of the corpus before the work starts, and what it reads otherwise by design goes to the reference library.
"""

import json
import random
import re
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pmc_llama.tokens.description import Refused, description_for_fast
from pmc_llama.tokens.reference import Reference, SentencePieceEncoder, Text

HARD_STRINGS = 500
SAID: set[tuple[Path, str]] = set()
"""What this process has warned of: tokenizers and reasons."""

_HARD = [
    *" \n\t\r\x00\x04\x1b\x7f\x85\xa0\u2009\u2028\u200b\u200d\u3000\ufeff\u2581\U000e0100",
    *("  ", "   ", "\n\n", "\r\n", " the", "e\u0301", "'s", "'LL", "’s", "..."),
    *"abEéﬁαβǅſ中文한ไह😀🧬12²½Ⅷ٣.,!'(<>/|_-=\\",
    *["in", "nation", "HTTP", "23", "2019", "[12]", "--", "µg/mL", "<0x0A>"],
]
_NOT_TAKEN = (RuntimeError, ValueError, KeyError, AssertionError)


class FastEncoder:
    """A reference encoder's ids, found by gigatoken.

    gigatoken reads a special token's string as that token, and the form of a vocabulary that it is given may have ids
    past the end (`description_for_fast` says which): the reference encodes a text with either. Raises Refused where
    gigatoken does not take the vocabulary, or is not installed.
    """

    def __init__(self, reference: Reference) -> None:
        self.path, self.sha256 = reference.path, reference.sha256
        self.vocab_size, self.dtype = reference.vocab_size, reference.dtype
        self.bos_id, self.eos_id = reference.bos_id, reference.eos_id
        self.reference = reference
        self.texts_by_reference = 0
        self._special = [re.compile(pattern) for pattern in _patterns(reference.special)]
        self._encode = _load(reference).encode

    def encode(self, text: Text) -> NDArray[Any]:
        """Ids of one text, as an array of the store's dtype."""
        data = text.encode() if isinstance(text, str) else text
        if not any(pattern.search(data) for pattern in self._special):
            ids = self._encode(data)
            if ids.max(initial=0) < self.vocab_size:
                return np.asarray(ids.astype(self.dtype))
        self.texts_by_reference += 1
        return self.reference.encode(text)

    def encode_batch(self, texts: Sequence[Text]) -> list[NDArray[Any]]:
        """Ids of many texts, in their order."""
        return [self.encode(text) for text in texts]

    def first_difference(self, texts: Iterable[Text]) -> str | None:
        """The first text with other ids than the reference's, or None."""
        for text in texts:
            if not np.array_equal(self.encode(text), self.reference.encode(text)):
                return text if isinstance(text, str) else text.decode()
        return None

    def prove(self) -> None:
        """Compare with the reference on texts made to tell tokenizers apart. Raises Refused on a difference."""
        differs = self.first_difference(_probes(self.reference))
        if differs is not None:
            raise Refused(f"the package gigatoken gives other ids for {differs!r}")

    def holds(self, documents: Sequence[Text]) -> bool:
        """Compare with the reference on documents. On a difference warn, and return False: take the reference.

        Warns also where most documents go to the reference because of what they hold.
        """
        before = self.texts_by_reference
        differs = self.first_difference(documents)
        if differs is not None:
            say_slow(self.reference, f"the package gigatoken gives other ids for a document ({differs[:60]!r}…)")
            return False
        if self.texts_by_reference - before > len(documents) / 2:
            say_slow(self.reference, "most documents hold what the package gigatoken reads otherwise")
        return True


def say_slow(reference: Reference, reason: str) -> None:
    """Warn that texts are encoded by the reference library, why, and how many tokens per second that gives.

    Once per process for a tokenizer and a reason: a run encodes several corpora with one tokenizer.
    """
    if (reference.path, reason) in SAID:
        return
    SAID.add((reference.path, reason))
    text = "In 2019 there were 1,234 patients with COVID-19; 12.5% of them were treated.\n" * 300
    started = time.process_time()
    tokens = len(reference.encode(text))
    rate = tokens / max(time.process_time() - started, 1e-6)
    library = "SentencePiece" if isinstance(reference, SentencePieceEncoder) else "tokenizers"
    warnings.warn(
        f"tokenizer {reference.path}: {reason}; {library} encodes, {rate / 1e6:.1f} million tokens per second per core",
        stacklevel=3,
    )


def hard_texts(count: int, seed: int, special: Sequence[str] = ()) -> Iterator[str]:
    """Texts of up to 40 pieces, drawn from blanks, controls, scripts, numbers, marks and the strings of tokens."""
    draw = random.Random(seed)
    pieces = [*_HARD, *special]
    for _ in range(count):
        yield "".join(draw.choices(pieces, k=draw.randrange(40)))


def _probes(reference: Reference) -> Iterator[str]:
    for token in (*reference.special, *reference.apart):
        yield from (token, f"a{token}b {token} {token}{token}\n1{token}")
    yield from hard_texts(HARD_STRINGS, 0)
    yield from hard_texts(HARD_STRINGS, 1, [*reference.special[:50], *reference.apart[:50]])


def _patterns(special: Iterable[str]) -> list[bytes]:
    """What finds these strings in UTF-8: one pattern a first byte, as `re` looks for a common beginning quickly."""
    by_first: dict[bytes, list[bytes]] = {}
    for string in sorted({one for one in special if one}):
        by_first.setdefault(string.encode()[:1], []).append(re.escape(string.encode()))
    return [b"|".join(strings) for strings in by_first.values()]


def _load(reference: Reference) -> Any:
    try:
        from gigatoken import Tokenizer
    except ImportError:
        raise Refused("the package gigatoken is not installed") from None
    try:
        if isinstance(reference, SentencePieceEncoder):
            return Tokenizer.from_sentencepiece(reference.path.read_bytes())
        description = json.loads(reference.description())
        return Tokenizer.from_json(json.dumps(description_for_fast(description)))
    except BaseException as error:
        if not isinstance(error, _NOT_TAKEN) and type(error).__name__ != "PanicException":  # Rust's is no Exception
            raise
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise Refused(f"the package gigatoken does not take this vocabulary ({reason[0][:200]})") from None
