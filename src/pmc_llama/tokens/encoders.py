"""The encoders: from text to token ids, without BOS and EOS."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pmc_llama.errors import InputError
from pmc_llama.files import sha256_file
from pmc_llama.tokens.convert import hf_tokenizer, sentencepiece_file
from pmc_llama.tokens.sentencepiece import SentencePieceEncoder, token_dtype


class Encoder(Protocol):
    """Turns text into ids, without BOS and EOS."""

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

    def encode(self, text: str) -> NDArray[Any]: ...  # noqa: D102

    def encode_batch(self, texts: Sequence[str]) -> list[NDArray[Any]]: ...  # noqa: D102


class HuggingFaceEncoder:
    """Ids of a `tokenizer.json`, in batches of the Rust library."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        file = folder / "tokenizer.json"
        if not file.is_file():
            raise InputError(f"tokenizer {folder} has neither a LLaMA-type `tokenizer.model` nor a `tokenizer.json`")
        self.sha256 = sha256_file(file)
        self._tokenizer = Tokenizer.from_file(str(file))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        whole = hf_tokenizer(folder)
        self.vocab_size = int(self._tokenizer.get_vocab_size(with_added_tokens=True))
        self.bos_id, self.eos_id = whole.bos_token_id, whole.eos_token_id
        self.dtype = token_dtype(self.vocab_size)

    def encode(self, text: str) -> NDArray[Any]:
        """Ids of one text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """Ids of many texts, in their order."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, self.dtype) for encoding in encodings]


def tokenizer_sha256(path: Path) -> str:
    """Hash of the file that describes a tokenizer: the `sha256` of its encoder."""
    return sha256_file(sentencepiece_file(path) or path / "tokenizer.json")


def load_encoder(path: Path, *, memo: bool = True) -> Encoder:
    """The encoder of a SentencePiece `tokenizer.model` or of a Hugging Face folder.

    Raises InputError where there is none.
    """
    if not path.exists():
        raise InputError(
            f"tokenizer {path} does not exist: expected a SentencePiece `tokenizer.model` or a Hugging Face folder"
        )
    model = sentencepiece_file(path)
    return SentencePieceEncoder(model, memo=memo) if model is not None else HuggingFaceEncoder(path)
