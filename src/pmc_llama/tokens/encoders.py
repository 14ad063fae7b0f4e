"""The encoder of a tokenizer: fast where that is shown to change nothing, else the reference library's."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pmc_llama.errors import InputError
from pmc_llama.files import sha256_file
from pmc_llama.tokens.convert import hf_tokenizer, sentencepiece_file
from pmc_llama.tokens.description import Refused
from pmc_llama.tokens.fast import FastEncoder, say_slow
from pmc_llama.tokens.reference import (
    Encoder,
    HuggingFaceEncoder,
    Reference,
    SentencePieceEncoder,
    plain,
    tokenizer_json,
)

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


def tokenizer_sha256(path: Path) -> str:
    """Hash of the file that describes a tokenizer: the `sha256` of its encoder."""
    return sha256_file(sentencepiece_file(path) or path / "tokenizer.json")


def load_encoder(path: Path, *, fast: bool = True, proven: bool = False) -> Encoder:
    """The encoder of a SentencePiece `tokenizer.model` or of a Hugging Face folder.

    Unless that is `proven` already, papers and questions are shown to get the same ids on texts made to tell tokenizers
    apart, and a `fast` encoder to give the reference library's; where it does not, or does not know the vocabulary, the
    reference library encodes, which a warning says. Raises InputError where there is no tokenizer, and where questions
    would get other ids than papers.
    """
    reference = _reference(path, proven=proven)
    if not fast:
        return reference
    try:
        encoder = FastEncoder(reference)
        if not proven:
            encoder.prove()
    except Refused as refused:
        say_slow(reference, str(refused))
        return reference
    return encoder


def _reference(path: Path, *, proven: bool) -> Reference:
    if not path.exists():
        raise InputError(
            f"tokenizer {path} does not exist: expected a SentencePiece `tokenizer.model` or a Hugging Face folder"
        )
    model = sentencepiece_file(path)
    if model is None:
        return _of_folder(path, proven=proven)
    encoder = SentencePieceEncoder(model)
    if not proven and encoder.has_transformers_form:
        texts = [*PROBES, *(f"a{piece}b {piece}" for piece in encoder.apart)]
        _prove_questions(path, texts, encoder.encode_batch(texts), hf_tokenizer(path))
    return encoder


def _of_folder(folder: Path, *, proven: bool) -> HuggingFaceEncoder:
    from tokenizers import Tokenizer

    file = tokenizer_json(folder)
    whole = hf_tokenizer(folder)
    if not proven:
        alone = plain(Tokenizer.from_file(str(file))).encode_batch_fast(list(PROBES), add_special_tokens=False)
        _prove_questions(folder, PROBES, [one.ids for one in alone], whole)
    return HuggingFaceEncoder(folder, whole)


def _prove_questions(
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
