"""The encoders equal SentencePiece and each other, whatever stands in a text.

Where the package gigatoken is missing the same tests run on the reference path, which is then the encoder.
"""

import gzip
import json
import random
import sys
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.folders import DIGITS, TEXT, byte_tokenizer

from pmc_llama.errors import InputError
from pmc_llama.files import read_json, write_json
from pmc_llama.recipe.tokens import TokensSection
from pmc_llama.tokens.encode import encode_corpus, hf_tokenizer, load_encoder
from pmc_llama.tokens.fast import FastEncoder
from pmc_llama.tokens.reference import Encoder
from pmc_llama.tokens.store import TokenStore

from .conftest import MakeCorpus, prose

needs_fast = pytest.mark.skipif(find_spec("gigatoken") is None, reason="the package gigatoken is not installed")


@pytest.fixture(autouse=True)
def nothing_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pmc_llama.tokens.fast.SAID", set())


ALPHABET = [
    *" \n\t\r\u2581\u00a0\u2009\u3000\u200b\x00\x07\x1b\x7f\u0085\u2028abeinrst.,12αβ中文é😀🧬",
    "  ",
    "   ",
    "\r\n",
    " the",
]
CONTROL = ["<s>", "</s>", "<unk>", "<", "s>", "unk", "/"]


def adversarial(count: int, seed: int = 0, more: list[str] | None = None) -> list[str]:
    draw, alphabet = random.Random(seed), ALPHABET + (more or [])
    return ["".join(draw.choices(alphabet, k=draw.randrange(0, 40))) for _ in range(count)]


@pytest.fixture(scope="session")
def mistral_model(shared_data: Path) -> Path:
    return shared_data / "tokenizer" / "mistral-v1" / "tokenizer.model"


@pytest.mark.parametrize("model", ["small_model", "mistral_model"])
def test_the_encoder_equals_sentencepiece_on_adversarial_strings(model: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(model)
    encoder, plain = load_encoder(path), sentencepiece.SentencePieceProcessor(model_file=str(path))
    texts = [*adversarial(10_000), *adversarial(2_000, 1, CONTROL)]
    assert [text for text in texts if encoder.encode(text).tolist() != plain.encode(text)] == []


def test_the_encoder_equals_sentencepiece_on_real_texts(shared_data: Path, mistral_model: Path) -> None:
    """Papers, questions, headings of an encyclopedia; `benchmarks/tokens.py` compares every byte of the folder."""
    encoder, plain = load_encoder(mistral_model), sentencepiece.SentencePieceProcessor(model_file=str(mistral_model))
    papers = [
        json.loads(line)["content"]["text"]
        for path in sorted((shared_data / "s2orc_v1").glob("s2orc_*.jsonl.gz"))
        for line in gzip.decompress(path.read_bytes()).splitlines()
    ]
    ids = encoder.encode_batch(papers)
    assert sum(map(len, ids)) == 8_372_414, "the count of the folder's own description"
    assert [i for i in range(0, len(papers), 10) if ids[i].tolist() != plain.encode(papers[i])] == []
    files = [*(shared_data / "qa").rglob("*.json*"), *(shared_data / "s2orc_legacy" / "parses").glob("*.json")]
    texts = [path.read_text()[:300_000] for path in [*files, shared_data / "general" / "wikitext-2" / "test.txt"]]
    assert [text[:40] for text in texts if encoder.encode(text).tolist() != plain.encode(text)] == []


@settings(max_examples=300, deadline=None)
@given(text=st.text())
def test_the_encoder_equals_sentencepiece_on_any_text(small_model: Path, text: str) -> None:
    encoder, plain = _cached(small_model)
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert encoder.encode(text).tolist() == plain.encode(text)


_CACHE: dict[Path, tuple[Encoder, sentencepiece.SentencePieceProcessor]] = {}


def _cached(path: Path) -> tuple[Encoder, sentencepiece.SentencePieceProcessor]:
    if path not in _CACHE:
        _CACHE[path] = (load_encoder(path), sentencepiece.SentencePieceProcessor(model_file=str(path)))
    return _CACHE[path]


@needs_fast
@pytest.mark.parametrize("model", ["small_model", "mistral_model"])
def test_only_texts_with_a_special_token_go_to_the_reference(model: str, request: pytest.FixtureRequest) -> None:
    encoder = load_encoder(request.getfixturevalue(model))
    assert isinstance(encoder, FastEncoder)
    before = encoder.texts_by_reference
    encoder.encode_batch([prose(50), "a < s > b <unk", "", "naïve 中文 😀".encode()])
    assert encoder.texts_by_reference == before
    encoder.encode_batch(["ends </s>", "<unk>", b"<s>"])
    assert encoder.texts_by_reference == before + 3


@needs_fast
def test_a_vocabulary_that_is_not_taken_is_encoded_by_the_reference_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("\n".join(prose(40, i) for i in range(20)))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"),
        model_prefix=str(tmp_path / "m"),
        vocab_size=120,
        model_type="bpe",
        minloglevel=2,
    )
    with pytest.warns(UserWarning, match=r"only byte_fallback .* SentencePiece encodes, \d+\.\d million tokens"):
        encoder = load_encoder(tmp_path / "m.model")
    plain = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "m.model"))
    assert [encoder.encode(text).tolist() for text in adversarial(50)] == [plain.encode(t) for t in adversarial(50)]


@pytest.mark.parametrize("kind", ["sentencepiece", "byte-level"])
def test_without_the_package_the_reference_encodes_and_says_so(
    kind: str, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = small_model if kind == "sentencepiece" else byte_tokenizer(tmp_path)
    texts = [prose(30), *TEXT, *adversarial(500, 2, CONTROL)]
    ids = [one.tolist() for one in load_encoder(path).encode_batch(texts)]
    monkeypatch.setitem(sys.modules, "gigatoken", None)
    with pytest.warns(UserWarning, match=r"the package gigatoken is not installed; .* million tokens per second"):
        reference = load_encoder(path)
    assert not isinstance(reference, FastEncoder)
    assert [one.tolist() for one in reference.encode_batch(texts)] == ids
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        load_encoder(path)


class PanicException(BaseException):
    """What a panic in a Rust extension is in Python: no Exception."""


@needs_fast
def test_a_panic_while_a_vocabulary_is_read_is_a_refusal(small_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gigatoken

    def panics(source: bytes) -> None:
        raise PanicException("index out of bounds")

    monkeypatch.setattr(gigatoken.Tokenizer, "from_sentencepiece", panics)
    with pytest.warns(UserWarning, match=r"does not take this vocabulary \(index out of bounds\)"):
        encoder = load_encoder(small_model)
    assert encoder.encode("a dose") is not None and not isinstance(encoder, FastEncoder)


def test_both_paths_write_the_same_store(
    small_model: Path, make_corpus: MakeCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = make_corpus([*(prose(30, i) for i in range(30)), "ends </s> here", "", *adversarial(20, 3, CONTROL)])
    encode_corpus(TokensSection(), corpus, small_model, tmp_path / "fast", workers=1)
    monkeypatch.setitem(sys.modules, "gigatoken", None)
    with pytest.warns(UserWarning, match="not installed"):
        encode_corpus(TokensSection(), corpus, small_model, tmp_path / "reference", workers=1)
    fast, reference = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("fast", "reference")
    )
    assert any(name.endswith(".bin") for name in fast)
    assert reference == fast


class Liar:
    """Gives other ids where a text holds a word."""

    def __init__(self, honest: Callable[[bytes], Any], word: bytes) -> None:
        self.honest, self.word = honest, word

    def encode(self, text: bytes) -> Any:
        return self.honest(text.replace(self.word, b"other"))


@needs_fast
@pytest.mark.parametrize(("word", "found"), [(b"nation", "for '"), (b"randomised", "for a document")])
def test_other_ids_are_found_on_probes_or_on_the_corpus_and_never_stored(
    word: bytes, found: str, small_model: Path, make_corpus: MakeCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gigatoken

    load = gigatoken.Tokenizer.from_sentencepiece
    monkeypatch.setattr(gigatoken.Tokenizer, "from_sentencepiece", lambda source: Liar(load(source).encode, word))
    texts = [prose(60, i) for i in range(20)]
    with pytest.warns(UserWarning, match=rf"gives other ids {found}.*SentencePiece encodes"):
        encode_corpus(TokensSection(), make_corpus(texts), small_model, tmp_path / "store", workers=1)
    store = TokenStore.open(tmp_path / "store")
    plain = sentencepiece.SentencePieceProcessor(model_file=str(small_model))
    for number, paper in enumerate(store.paper_ids):
        assert store[number].tolist() == plain.encode(texts[int(paper[4:])])


@needs_fast
def test_documents_that_go_to_the_reference_are_spoken_of(
    small_model: Path, make_corpus: MakeCorpus, tmp_path: Path
) -> None:
    corpus = make_corpus([f"a chat ends </s> {i}" for i in range(20)])
    with pytest.warns(UserWarning, match="most documents hold what the package gigatoken reads otherwise"):
        encode_corpus(TokensSection(), corpus, small_model, tmp_path / "store", workers=1)


@needs_fast
def test_a_byte_level_vocabulary_that_cuts_numbers_and_lacks_bytes_is_encoded_fast(tmp_path: Path) -> None:
    """SmolLM2's rule: a number's character stands alone, in every script; some control characters are unknown."""
    from tokenizers import Tokenizer

    folder = byte_tokenizer(tmp_path, pre_tokenizer=DIGITS)
    value = read_json(folder / "tokenizer.json")
    for place, byte in enumerate("Ąñ"):  # how such vocabularies write bytes 4 and 0xf1
        value["model"]["vocab"][f"never{place}"] = value["model"]["vocab"].pop(byte)
    write_json(folder / "tokenizer.json", value)
    encoder, plain = load_encoder(folder), Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert isinstance(encoder, FastEncoder)
    draw, alphabet = random.Random(0), [*ALPHABET, *"0123456789²½Ⅷ٣\U00010d48\x04\U00050000", *TEXT, " 12", "x²"]
    texts = ["".join(draw.choices(alphabet, k=draw.randrange(20))) for _ in range(2_000)]
    expected = [one.ids for one in plain.encode_batch(texts, add_special_tokens=False)]
    assert [ids.tolist() for ids in encoder.encode_batch(texts)] == expected
    before = encoder.texts_by_reference
    encoder.encode_batch([*TEXT, "12 of 345", "\x05"])
    assert encoder.texts_by_reference == before
    encoder.encode_batch(["x²", "a\x04", "\U00050000"])
    assert encoder.texts_by_reference == before + 3


@pytest.mark.parametrize("model", ["small_model", "mistral_model"])
def test_the_transformers_tokenizer_has_the_encoders_ids_also_after_saving(
    model: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer, LlamaConfig

    path = request.getfixturevalue(model)
    encoder, tokenizer = load_encoder(path), hf_tokenizer(path)
    tokenizer.save_pretrained(tmp_path)
    tokenizer.save_vocabulary(str(tmp_path))
    LlamaConfig(vocab_size=encoder.vocab_size).save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    texts = ["", "a  b", "  two\n\n  lines \n", "The Answer is: yes", *adversarial(3_000, seed=1)]
    expected = [encoder.encode(text).tolist() for text in texts]
    for one in (tokenizer, again):
        assert one(texts, add_special_tokens=False)["input_ids"] == expected
        assert (one.bos_token_id, one.eos_token_id, one.pad_token_id, one.unk_token_id) == (1, 2, None, 0)
        assert one("the")["input_ids"] == [1, *encoder.encode("the").tolist()]
        assert one.decode(encoder.encode("the  dose\n 12.5 µg 😀")) == "the  dose\n 12.5 µg 😀"
        assert len(one) == encoder.vocab_size


def test_a_saved_folder_is_a_tokenizer_again(small_model: Path, tmp_path: Path) -> None:
    hf_tokenizer(small_model).save_pretrained(tmp_path / "json-only")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder, original = load_encoder(tmp_path / "json-only"), load_encoder(small_model)
    texts = [prose(50, 1), "", "a  b", " \u2581 "]
    assert [ids.tolist() for ids in encoder.encode_batch(texts)] == [original.encode(t).tolist() for t in texts]
    assert (encoder.bos_id, encoder.eos_id, encoder.vocab_size) == (1, 2, 700)


def test_no_tokenizer_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_encoder(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"neither a LLaMA-type `tokenizer.model` nor a `tokenizer.json`"):
        load_encoder(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"not a model")
    with pytest.raises(InputError, match="is not a SentencePiece model"):
        load_encoder(tmp_path / "tokenizer.model")
