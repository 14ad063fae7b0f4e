"""The encoders: from text to token ids, without BOS and EOS."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pmc_llama.errors import InputError
from pmc_llama.files import sha256_file
from pmc_llama.model.tokenizer import as_spelled, spelled_tokens
from pmc_llama.tokens.convert import hf_tokenizer, sentencepiece_file
from pmc_llama.tokens.sentencepiece import SentencePieceEncoder, token_dtype

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROBES = (
    "In 2019 there were 1234567 cases of COVID-19, 12.5% of 3,400.",
    "I'm sure they'll say it ISN'T; we'd've gone",
    " leading, two  blanks,   three    and trailing  ",
    "one line\nanother\n\n  indented\n\n\n\ttab\r\nend\n",
    "naïve café Ångström e\u0301 ﬁ ① ½ x² ٣٤٥",
    "中文字符和日本語テキスト 한국어 ไทย हिन्दी",
    "😀 👩\u200d⚕️ \u00a0\u2009\u200b\ufeff.",
    "def f(x_1, y):\n    return x_1**2 if y!=0 else []  # done\n",
    "camelCase HTTPServer snake_case __init__ --flag=0x1F https://a.org/b?c=1&d",
    'α-synuclein µg/mL ≥5 (p<0.001) [12-15] {a} "quoted" ...!?',
)
"""Texts on which tokenizers with other rules for digits, letters, blanks, newlines or Unicode give other ids."""


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
    """Ids of a `tokenizer.json`, in batches of the Rust library.

    Text that looks like a special token is encoded as the characters that it is.
    """

    def __init__(self, folder: Path, *, proven: bool = False) -> None:
        from tokenizers import Tokenizer

        file = folder / "tokenizer.json"
        if not file.is_file():
            raise InputError(f"tokenizer {folder} has neither a LLaMA-type `tokenizer.model` nor a `tokenizer.json`")
        whole = hf_tokenizer(folder)
        if not proven:
            alone = _plain(Tokenizer.from_file(str(file))).encode_batch_fast(list(PROBES), add_special_tokens=False)
            _prove(folder, PROBES, [one.ids for one in alone], whole)
        self.sha256 = sha256_file(file)
        self._spelled = spelled_tokens(whole)
        self._tokenizer = _plain(whole.backend_tokenizer)
        self.vocab_size = int(self._tokenizer.get_vocab_size(with_added_tokens=True))
        self.bos_id, self.eos_id = whole.bos_token_id, whole.eos_token_id
        self.dtype = token_dtype(self.vocab_size)

    def encode(self, text: str) -> NDArray[Any]:
        """Ids of one text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """Ids of many texts, in their order."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(as_spelled(encoding.ids, self._spelled), self.dtype) for encoding in encodings]


def tokenizer_sha256(path: Path) -> str:
    """Hash of the file that describes a tokenizer: the `sha256` of its encoder."""
    return sha256_file(sentencepiece_file(path) or path / "tokenizer.json")


def load_encoder(path: Path, *, memo: bool = True, proven: bool = False) -> Encoder:
    """The encoder of a SentencePiece `tokenizer.model` or of a Hugging Face folder.

    Unless that is `proven` already, papers and questions are shown to get the same ids on texts made to tell tokenizers
    apart. Raises InputError where there is no tokenizer, and where a text gets other ids.
    """
    if not path.exists():
        raise InputError(
            f"tokenizer {path} does not exist: expected a SentencePiece `tokenizer.model` or a Hugging Face folder"
        )
    model = sentencepiece_file(path)
    if model is None:
        return HuggingFaceEncoder(path, proven=proven)
    encoder = SentencePieceEncoder(model, memo=memo)
    if not proven and encoder.has_transformers_form:
        texts = [*PROBES, *(f"a{piece}b {piece}" for piece in encoder.user_defined)]
        _prove(path, texts, encoder.encode_batch(texts), hf_tokenizer(path))
    return encoder


def _prove(
    path: Path, texts: Sequence[str], papers: Sequence[Iterable[int]], questions: "PreTrainedTokenizerBase"
) -> None:
    """Raise InputError unless questions get the ids that papers get on all the texts."""
    asked = questions(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]
    for text, paper, question in zip(texts, papers, asked, strict=True):
        if list(paper) != question:
            raise InputError(
                f"tokenizer {path}: its files disagree, so that questions would be encoded otherwise than papers: "
                f"{text!r}"
            )


def _plain(backend: Any) -> Any:
    """This tokenizer, set to encode whole texts as nothing but text."""
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True  # the library's name for: special tokens in a text are text
    return backend
