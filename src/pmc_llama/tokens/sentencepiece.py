"""Exact and fast encoding with a LLaMA-type SentencePiece model: every word is encoded once and remembered."""

import itertools
import random
import re
import string
import warnings
from array import array
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pmc_llama.errors import InputError
from pmc_llama.files import sha256_file

MARK = "\u2581"
"""SentencePiece's visible space; one that stands in a text counts as a space."""

MEMO_LIMIT = 1_000_000
"""Words remembered by one process, about 250 MB; a full memo costs speed, never correctness."""

_BPE, _NORMAL, _USER_DEFINED, _UNUSED = 2, 1, 4, 5  # numbers of SentencePiece's own format
_RUN = re.compile(" {2,}")
_PROBE_ALPHABET = [
    " ",
    "  ",
    "\n",
    "\t",
    "\r",
    MARK,
    "\u00a0",
    "\u2009",
    "\x00",
    "a",
    "the",
    "in",
    ".",
    "1",
    "α",
    "中",
    "😀",
]


def read_model(path: Path) -> Any:
    """Read a SentencePiece model as its protocol-buffer message. Raises InputError where it is none."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except (DecodeError, OSError) as error:
        raise InputError(f"tokenizer {path} is not a SentencePiece model: {error}") from None
    if not proto.pieces:
        raise InputError(f"tokenizer {path} is not a SentencePiece model: it has no pieces")
    return proto


def may_cut(proto: Any) -> bool:
    """Whether no merge of this model can cross the border before a run of spaces, or either side of a newline.

    True for BPE without normalisation, with byte fallback (unknown characters would join), with the space mark in
    front of words, and with no piece that has a mark after another character or a newline. LLaMA's vocabulary is so.
    """
    normaliser, trainer = proto.normalizer_spec, proto.trainer_spec
    return (
        trainer.model_type == _BPE
        and trainer.byte_fallback
        and not trainer.treat_whitespace_as_suffix
        and not normaliser.precompiled_charsmap
        and not normaliser.remove_extra_whitespaces
        and normaliser.escape_whitespaces
        and normaliser.add_dummy_prefix
        and all(piece.type != _UNUSED for piece in proto.pieces)
        and not any("\n" in p.piece or MARK in p.piece.lstrip(MARK) for p in proto.pieces)
    )


def normal_pieces(proto: Any) -> list[str]:
    """The pieces that merges can make: all but bytes, control and unknown ones."""
    return [piece.piece for piece in proto.pieces if piece.type in (_NORMAL, _USER_DEFINED)]


def user_defined(proto: Any) -> list[str]:
    """The pieces that are taken from a text before anything is merged."""
    return [piece.piece for piece in proto.pieces if piece.type == _USER_DEFINED]


class SentencePieceEncoder:
    """Ids of SentencePiece, without BOS and EOS.

    With `memo`, a text is cut before every run of spaces and before every newline, each word is encoded alone and its
    ids are remembered as bytes, so that a text becomes one join of byte strings. `may_cut` says why this is exact;
    `check` compares with the plain path and switches the memo off, with a warning, on any difference.
    """

    def __init__(self, path: Path, *, memo: bool = True, memo_limit: int = MEMO_LIMIT) -> None:
        from sentencepiece import SentencePieceProcessor

        proto = read_model(path)
        self.path, self.sha256 = path, sha256_file(path)
        self.processor = SentencePieceProcessor(model_file=str(path))
        self.vocab_size = int(self.processor.get_piece_size())
        self.bos_id, self.eos_id = _special_id(self.processor.bos_id()), _special_id(self.processor.eos_id())
        self.dtype = token_dtype(self.vocab_size)
        self._native = self.dtype.newbyteorder("=")
        self.uses_memo = False
        self.has_transformers_form, self.user_defined = may_cut(proto), user_defined(proto)
        if memo and self.has_transformers_form:
            self.uses_memo = True
            self._words = _Words(self.processor, self.dtype, memo_limit, part_pattern(normal_pieces(proto)))
            self.check(_probes())
        elif memo:
            warnings.warn(
                f"{path}: this vocabulary cannot be cut at spaces; encoding takes the plain path", stacklevel=2
            )

    def encode(self, text: str) -> NDArray[Any]:
        """Ids of one text, as an array of the store's dtype."""
        if not self.uses_memo:
            return np.array(self.processor.encode(text), self.dtype)
        return np.frombuffer(b"".join(map(self._words.__getitem__, _words_of(text))), self._native).astype(
            self.dtype, copy=False
        )

    def encode_batch(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """Ids of many texts, in their order."""
        return [self.encode(text) for text in texts]

    def check(self, texts: Iterable[str]) -> bool:
        """Compare the memo with plain SentencePiece on `texts`; on a difference warn and take the plain path."""
        for text in texts:
            if self.uses_memo and self.encode(text).tolist() != self.processor.encode(text):
                self.uses_memo = False
                warnings.warn(
                    f"{self.path}: words encode differently in a text; encoding takes the plain path", stacklevel=2
                )
        return self.uses_memo


class _Memo(dict[str, bytes]):
    """Text → its ids as bytes, encoded at the first look-up and kept while there is room."""

    def __init__(self, encode: Callable[[str], bytes], limit: int) -> None:
        super().__init__()
        self._encode, self._limit = encode, limit

    def __missing__(self, text: str) -> bytes:
        ids = self._encode(text)
        if len(self) < self._limit:
            self[text] = ids
        return ids


class _Words(_Memo):
    """Memo of words; a word is text up to the next space, and one behind a newline starts with that newline.

    A new word is mostly a known one in other company ("dose," or "(dose"), so its parts have a memo of their own.
    """

    def __init__(self, processor: Any, dtype: np.dtype[Any], limit: int, part: re.Pattern[str]) -> None:
        skip = len(processor.encode("\n"))  # ids of the dummy prefix and of the newline put before each part
        code = "H" if dtype.itemsize == 2 else "I"

        def encode_part(text: str) -> bytes:
            return array(code, processor.encode("\n" + text)[skip:]).tobytes()

        def encode_word(text: str) -> bytes:
            marked = text if text[:1] == "\n" else MARK + text
            return b"".join(map(self.parts.__getitem__, part.findall(marked)))

        super().__init__(encode_word, limit)
        self.parts = _Memo(encode_part, limit)


def part_pattern(pieces: Iterable[str]) -> re.Pattern[str]:
    """A pattern that cuts a word only where no piece of the vocabulary could join the characters on both sides.

    Two characters that stand side by side in a piece belong together, and so does who belongs to one of them. The
    families of letters, of punctuation and of each digit are kept apart where the vocabulary does so; all other
    characters are one family. Space marks go with what follows.
    """
    neighbours: dict[str, set[str]] = {}
    for piece in pieces:
        for a, b in itertools.pairwise(piece.replace(MARK, "")):
            neighbours.setdefault(a, set()).add(b)
            neighbours.setdefault(b, set()).add(a)
    families = {frozenset(_family(neighbours, character)) for character in ["a", ",", *string.digits]}
    runs = [f"[{re.escape(''.join(sorted(family)))}]+" for family in families if any(c in neighbours for c in family)]
    singles = re.escape("".join(sorted(c for family in families for c in family if c not in neighbours)))
    known = re.escape("".join(sorted(set().union(*families))))
    parts = "|".join([*sorted(runs), *([f"[{singles}]"] if singles else []), f"[^{known}{MARK}\n]+"])
    return re.compile(f"\n|{MARK}*(?:{parts})|{MARK}+")


def _family(neighbours: dict[str, set[str]], member: str) -> set[str]:
    family, new = set(), {member}
    while new:
        family |= new
        new = set().union(*(neighbours.get(character, set()) for character in new)) - family
    return family


def _words_of(text: str) -> list[str]:
    """Cut a text into words; each has lost a leading space (the first one its prefix), or starts with a newline."""
    if not text:
        return []
    if MARK in text:
        text = text.replace(MARK, " ")
    if text[0] == " " or "  " in text:  # all spaces of a run but the first stay in the word, as marks
        text = _RUN.sub(lambda run: " " + MARK * (len(run[0]) - 1), " " + text)[1:]
    return text.replace("\n", " \n").split(" ")


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The store's dtype for a vocabulary: little-endian uint16 where all ids fit, else uint32."""
    return np.dtype("<u2") if vocab_size < 65_536 else np.dtype("<u4")


def _special_id(number: int) -> int | None:
    return number if number >= 0 else None


def _probes() -> list[str]:
    draw = random.Random(0)
    return ["".join(draw.choices(_PROBE_ALPHABET, k=draw.randrange(1, 40))) for _ in range(500)]
