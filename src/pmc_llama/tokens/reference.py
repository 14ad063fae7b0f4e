"""The reference encoders: the libraries SentencePiece and Hugging Face `tokenizers`, as they are."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pmc_llama.errors import InputError
from pmc_llama.files import sha256_file
from pmc_llama.model.tokenizer import as_spelled, spelled_tokens
from pmc_llama.tokens.convert import CONTROL, UNKNOWN, USER_DEFINED, has_transformers_form, pieces_of, read_model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Text = str | bytes
"""A text, or its UTF-8."""


class Encoder(Protocol):
    """Turns text into ids, without BOS and EOS."""

    @property
    def path(self) -> Path: ...  # noqa: D102

    @property
    def vocab_size(self) -> int: ...  # noqa: D102

    @property
    def bos_id(self) -> int | None: ...  # noqa: D102

    @property
    def eos_id(self) -> int | None: ...  # noqa: D102

    @property
    def sha256(self) -> str: ...  # noqa: D102

    @property
    def dtype(self) -> np.dtype[Any]: ...  # noqa: D102

    def encode(self, text: Text) -> NDArray[Any]: ...  # noqa: D102

    def encode_batch(self, texts: Sequence[Text]) -> list[NDArray[Any]]: ...  # noqa: D102


class SentencePieceEncoder:
    """Ids of a `tokenizer.model`, from the library SentencePiece.

    `special` are the strings of control and unknown pieces, `apart` of those that are taken from a text before anything
    is merged. Raises InputError for a file that is no such model.
    """

    def __init__(self, path: Path) -> None:
        from sentencepiece import SentencePieceProcessor

        proto = read_model(path)
        self.path, self.sha256 = path, sha256_file(path)
        self._processor = SentencePieceProcessor(model_file=str(path))
        self.vocab_size = int(self._processor.get_piece_size())
        self.bos_id, self.eos_id = _special_id(self._processor.bos_id()), _special_id(self._processor.eos_id())
        self.dtype = token_dtype(self.vocab_size)
        self.has_transformers_form = has_transformers_form(proto)
        self.special, self.apart = pieces_of(proto, CONTROL, UNKNOWN), pieces_of(proto, USER_DEFINED)

    def encode(self, text: Text) -> NDArray[Any]:
        """Ids of one text, as an array of the store's dtype."""
        return np.array(self._processor.encode(_string(text)), self.dtype)

    def encode_batch(self, texts: Sequence[Text]) -> list[NDArray[Any]]:
        """Ids of many texts, in their order."""
        return [self.encode(text) for text in texts]


class HuggingFaceEncoder:
    """Ids of a `tokenizer.json`, in batches of the library `tokenizers`.

    Text that looks like a special token is encoded as the characters that it is. `special` are these tokens, `apart`
    the others that are taken from a text before anything is merged. Raises InputError where there is no such file.
    """

    def __init__(self, folder: Path, whole: "PreTrainedTokenizerBase") -> None:
        file = tokenizer_json(folder)
        self.path, self.sha256 = folder, sha256_file(file)
        self._spelled = spelled_tokens(whole)
        self._tokenizer = plain(whole.backend_tokenizer)
        self.vocab_size = int(self._tokenizer.get_vocab_size(with_added_tokens=True))
        self.bos_id, self.eos_id = whole.bos_token_id, whole.eos_token_id
        self.dtype = token_dtype(self.vocab_size)
        added = self._tokenizer.get_added_tokens_decoder().values()
        self.special = sorted({*(token.content for token in added if token.special), *whole.all_special_tokens})
        self.apart = sorted({token.content for token in added} - set(self.special))

    def description(self) -> str:
        """The tokenizer as JSON, in the form of `tokenizer.json`."""
        return str(self._tokenizer.to_str())

    def encode(self, text: Text) -> NDArray[Any]:
        """Ids of one text, as an array of the store's dtype."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[Text]) -> list[NDArray[Any]]:
        """Ids of many texts, in their order."""
        encodings = self._tokenizer.encode_batch_fast([_string(text) for text in texts], add_special_tokens=False)
        return [np.array(as_spelled(encoding.ids, self._spelled), self.dtype) for encoding in encodings]


Reference = SentencePieceEncoder | HuggingFaceEncoder


def tokenizer_json(folder: Path) -> Path:
    """The file that describes the tokenizer of a Hugging Face folder. Raises InputError where there is none."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise InputError(f"tokenizer {folder} has neither a LLaMA-type `tokenizer.model` nor a `tokenizer.json`")
    return file


def plain(backend: Any) -> Any:
    """A tokenizer of `tokenizers`, set to encode whole texts as nothing but text."""
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True  # the library's name for: special tokens in a text are text
    return backend


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The store's dtype for a vocabulary: little-endian uint16 where all ids fit, else uint32."""
    return np.dtype("<u2") if vocab_size < 65_536 else np.dtype("<u4")


def _string(text: Text) -> str:
    return text if isinstance(text, str) else text.decode()


def _special_id(number: int) -> int | None:
    return number if number >= 0 else None
