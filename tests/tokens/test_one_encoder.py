"""Papers and questions get the same ids, which are those of `tokenizer.json`, whatever class a folder names."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.folders import BLANK_FIRST, DIGITS, PAIRS, TEXT, byte_tokenizer

from pmc_llama.errors import InputError
from pmc_llama.files import read_json, write_json
from pmc_llama.qa.encoding import encode_all
from pmc_llama.tokens.encode import hf_tokenizer, load_encoder

CLASSES = [
    ("PreTrainedTokenizerFast", DIGITS),
    ("GPT2Tokenizer", DIGITS),
    ("GPT2TokenizerFast", BLANK_FIRST),
    ("Qwen2Tokenizer", PAIRS),
    ("CohereTokenizerFast", PAIRS),
    ("GPTNeoXTokenizerFast", PAIRS),
    ("LlamaTokenizerFast", DIGITS),
    ("NobodyKnowsThisTokenizer", PAIRS),
]
ALIKE = "In 2019 there were 1234567 cases of COVID-19; they'll say\n  it's 12.5 mg"


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("classes")
    for name, cut in CLASSES:
        byte_tokenizer(root / name, pre_tokenizer=cut, tokenizer_class=name)
    return root


@lru_cache
def forms(folder: Path) -> tuple[Any, Any, list[Any]]:
    """The file itself, its encoder, and the tokenizers of questions, one saved and loaded again."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    asked = hf_tokenizer(folder)
    asked.save_pretrained(folder / "saved")
    file = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return file, load_encoder(folder), [asked, AutoTokenizer.from_pretrained(folder / "saved")]


@pytest.mark.parametrize("name", [name for name, _ in CLASSES])
@settings(max_examples=60, deadline=None)
@given(text=st.text() | st.lists(st.sampled_from([*TEXT, *" \n\t", "7", "x", "É", "’s", "中", "😀"])).map("".join))
def test_papers_and_questions_get_the_ids_of_the_file(folders: Path, name: str, text: str) -> None:
    file, encoder, asked = forms(folders / name)
    for one in (text, ALIKE):
        ids = file.encode(one, add_special_tokens=False).ids
        assert encoder.encode(one).tolist() == ids
        for tokenizer in asked:
            assert tokenizer(one, add_special_tokens=False)["input_ids"] == ids


def test_transformers_alone_would_give_other_ids(folders: Path) -> None:
    from transformers import AutoTokenizer

    rebuilt = AutoTokenizer.from_pretrained(folders / "GPT2Tokenizer")
    assert rebuilt(ALIKE)["input_ids"] != load_encoder(folders / "GPT2Tokenizer").encode(ALIKE).tolist()


def test_settings_beside_the_file_are_kept_and_no_pad_is_invented(tmp_path: Path) -> None:
    folder = byte_tokenizer(
        tmp_path,
        adds="<s> $A",
        tokenizer_class="Qwen2Tokenizer",
        pad_token=None,
        padding_side="left",
        model_max_length=77,
        chat_template="{{ messages[0].content }}",
    )
    tokenizer = hf_tokenizer(folder)
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<s>", "</s>", None)
    assert (tokenizer.padding_side, tokenizer.model_max_length) == ("left", 77)
    assert tokenizer.chat_template == "{{ messages[0].content }}"
    assert tokenizer("mg")["input_ids"] == [1, *load_encoder(folder).encode("mg").tolist()]
    byte_tokenizer(tmp_path / "with", special=("<unk>", "<s>", "</s>", "<pad>"), pad_token="<pad>")
    assert hf_tokenizer(tmp_path / "with").pad_token_id == 3


def test_tokens_that_only_the_class_names_are_found(tmp_path: Path) -> None:
    folder = byte_tokenizer(tmp_path, special=("<|endoftext|>",), tokenizer_class="GPT2Tokenizer")
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer", "model_max_length": 1024})
    assert (hf_tokenizer(folder).eos_token_id, load_encoder(folder).bos_id) == (0, 0)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
def test_an_empty_special_token_is_none(tmp_path: Path, name: str) -> None:
    folder = byte_tokenizer(tmp_path)
    empty = {"bos_token": "", "unk_token": "", "pad_token": {"content": "", "lstrip": False}}
    known = read_json(folder / name) if (folder / name).is_file() else {}
    write_json(folder / name, known | empty)
    tokenizer = hf_tokenizer(folder)
    tokenizer.save_pretrained(tmp_path / "saved")
    for one in (tokenizer, hf_tokenizer(tmp_path / "saved")):
        assert one.special_tokens_map == {"eos_token": "</s>"}
        assert (one.bos_token_id, one.eos_token_id, one.pad_token_id) == (None, 2, None)
    assert load_encoder(folder).bos_id is None


def test_a_folder_whose_files_disagree_is_refused_with_the_text(tmp_path: Path) -> None:
    folder = byte_tokenizer(tmp_path)
    added = {"content": "COVID", "lstrip": False, "rstrip": False, "normalized": True, "single_word": False}
    config = read_json(folder / "tokenizer_config.json")
    write_json(folder / "tokenizer_config.json", config | {"added_tokens_decoder": {"400": added | {"special": False}}})
    with pytest.raises(InputError, match=r"questions would be encoded otherwise than papers: 'In 2019 .* COVID-19"):
        load_encoder(folder)


def test_a_damaged_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    folder = byte_tokenizer(tmp_path)
    write_json(folder / "tokenizer.json", {"version": "1.0", "model": {"type": "Odd"}})
    with pytest.raises(InputError, match="expected a SentencePiece"):
        load_encoder(folder)


SPELLED = "ends </s> or <s>, <unk>\n</s> and <|im_end|>"


@pytest.mark.parametrize("config", [{}, {"additional_special_tokens": ["<|im_end|>"]}], ids=["named", "added"])
def test_what_a_paper_spells_is_text(tmp_path: Path, config: dict[str, Any]) -> None:
    folder = byte_tokenizer(tmp_path, **config)
    ids = load_encoder(folder).encode(SPELLED).tolist()
    assert load_encoder(folder, proven=True).encode(SPELLED).tolist() == ids
    tokenizer = hf_tokenizer(folder)
    assert not {0, 1, 2, 400} & set(ids)
    assert tokenizer.decode(ids) == SPELLED
    assert tokenizer(SPELLED)["input_ids"] != ids  # the check can fail: transformers itself takes it for tokens


def test_a_token_that_only_the_settings_call_special_is_text_too(tmp_path: Path) -> None:
    folder = byte_tokenizer(tmp_path)
    value = read_json(folder / "tokenizer.json")
    for token in value["added_tokens"]:
        token["special"] = False
    write_json(folder / "tokenizer.json", value)
    assert not {1, 2} & set(load_encoder(folder).encode(SPELLED).tolist())


def test_a_vocabulary_with_special_tokens_among_its_pieces_spells_them(tmp_path: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), *((one, -3.0) for one in "\u2581ab</>s")]
    made = Tokenizer(models.Unigram(pieces, unk_id=0))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.add_special_tokens([AddedToken(token, special=True) for token in ("<unk>", "<s>", "</s>")])
    byte_tokenizer(tmp_path)
    made.save(str(tmp_path / "tokenizer.json"))
    encoder, asked = load_encoder(tmp_path), hf_tokenizer(tmp_path)
    assert asked.convert_ids_to_tokens(encoder.encode("a</s> b").tolist()) == [*"\u2581a</s>\u2581b"]
    [encoded] = encode_all(asked, [("a</s>", [" b"])])
    assert [*encoded.context, *encoded.continuations[0]] == encoder.encode("a</s> b").tolist()


def test_what_a_paper_spells_is_text_to_sentencepiece_too(small_model: Path) -> None:
    ids = load_encoder(small_model).encode(SPELLED).tolist()
    assert not {0, 1, 2} & set(ids)
    assert hf_tokenizer(small_model)(SPELLED, add_special_tokens=False, split_special_tokens=True)["input_ids"] == ids


def test_pieces_apart_from_the_merges_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("\n".join(TEXT * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"),
        model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=340,
        hard_vocab_limit=False,
        model_type="bpe",
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        byte_fallback=True,
        user_defined_symbols=["<sep>"],
        minloglevel=2,
    )
    with pytest.raises(InputError, match="'a<sep>b <sep>'"):
        load_encoder(tmp_path / "tokenizer.model")
    byte_tokenizer(tmp_path)
    assert load_encoder(tmp_path).vocab_size == hf_tokenizer(tmp_path).backend_tokenizer.get_vocab_size()
