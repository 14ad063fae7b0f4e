"""The encoders equal SentencePiece and each other, whatever stands in a text."""

import gzip
import json
import random
import warnings
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from pmc_llama.errors import InputError
from pmc_llama.tokens.encode import hf_tokenizer, load_encoder
from pmc_llama.tokens.sentencepiece import SentencePieceEncoder

from .conftest import prose

ALPHABET = [
    *" \n\t\r\u2581\u00a0\u2009\u3000\u200b\x00\x07\x1b\x7f\u0085\u2028abeinrst.,12αβ中文é😀🧬",
    "  ",
    "   ",
    "\r\n",
    " the",
]


def adversarial(count: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices(ALPHABET, k=draw.randrange(0, 40))) for _ in range(count)]


@pytest.fixture(scope="session")
def mistral_model(shared_data: Path) -> Path:
    return shared_data / "tokenizer" / "mistral-v1" / "tokenizer.model"


@pytest.mark.parametrize("model", ["small_model", "mistral_model"])
def test_the_encoder_equals_sentencepiece_on_adversarial_strings(model: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(model)
    encoder, plain = load_encoder(path), sentencepiece.SentencePieceProcessor(model_file=str(path))
    assert encoder.uses_memo
    texts = adversarial(20_000)
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


_CACHE: dict[Path, tuple[SentencePieceEncoder, sentencepiece.SentencePieceProcessor]] = {}


def _cached(path: Path) -> tuple[SentencePieceEncoder, sentencepiece.SentencePieceProcessor]:
    if path not in _CACHE:
        _CACHE[path] = (SentencePieceEncoder(path), sentencepiece.SentencePieceProcessor(model_file=str(path)))
    return _CACHE[path]


def test_a_full_memo_costs_no_correctness(small_model: Path) -> None:
    encoder = SentencePieceEncoder(small_model, memo_limit=3)
    plain = sentencepiece.SentencePieceProcessor(model_file=str(small_model))
    assert encoder.encode(prose(200)).tolist() == plain.encode(prose(200))
    assert len(encoder._words) == 3


def test_a_vocabulary_that_cannot_be_cut_takes_the_plain_path_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("\n".join(prose(40, i) for i in range(20)))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"),
        model_prefix=str(tmp_path / "m"),
        vocab_size=120,
        model_type="bpe",
        minloglevel=2,
    )
    with pytest.warns(UserWarning, match="plain path"):
        encoder = load_encoder(tmp_path / "m.model")
    plain = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "m.model"))
    assert [encoder.encode(text).tolist() for text in adversarial(50)] == [plain.encode(t) for t in adversarial(50)]


def test_a_wrong_memo_is_found_by_the_check(small_model: Path) -> None:
    encoder = SentencePieceEncoder(small_model)
    encoder._words["patients"] = b""
    with pytest.warns(UserWarning, match="plain path"):
        assert not encoder.check(["fine", "the patients"])
    plain = sentencepiece.SentencePieceProcessor(model_file=str(small_model))
    assert encoder.encode("the patients").tolist() == plain.encode("the patients")


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
