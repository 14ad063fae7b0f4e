"""The settings of an exported tokenizer are those that transformers 4 and 5 both read, and invent nothing."""

from pathlib import Path

import pytest
from tests.folders import BLANK_FIRST, PAIRS, byte_tokenizer
from transformers import AutoTokenizer

from adopt import adopt
from pmc_llama.files import read_json, write_json
from pmc_llama.model.tokenizer import folder_tokenizer
from pmc_llama.release.export import export_model
from release.tiny import write_run

MARKS = ("<unk>", "<s>", "</s>", "<|note|>", "<|image|>")
TEXTS = ["In 2019 COVID-19", "<|note|>a <|image|>", " two  blanks\n", "</s>"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path)


def test_added_tokens_have_the_names_of_transformers_4(run: Path, tmp_path: Path) -> None:
    trained = byte_tokenizer(
        run / "models" / "adapted",
        pre_tokenizer=PAIRS,
        special=MARKS,
        adds="<s> $A",
        additional_special_tokens=["<|note|>"],
        image_token="<|image|>",
        tokenizer_class="Qwen2Tokenizer",
    )
    out = export_model(adopt(run), tmp_path / "out")
    config = read_json(out / "tokenizer_config.json")
    assert config["additional_special_tokens"] == ["<|note|>"]
    assert config["extra_special_tokens"] == {"image_token": "<|image|>"}
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert config["model_input_names"] == ["input_ids", "attention_mask"]
    assert not {"backend", "is_local", "model_specific_special_tokens"} & set(config)
    again, known = AutoTokenizer.from_pretrained(out), folder_tokenizer(trained)
    assert again(TEXTS)["input_ids"] == known(TEXTS)["input_ids"]
    assert (again.extra_special_tokens, again.image_token) == (["<|note|>"], "<|image|>")
    assert read_json(out / "tokenizer.json")["pre_tokenizer"] == read_json(trained / "tokenizer.json")["pre_tokenizer"]
    assert (again.pad_token, read_json(out / "config.json")["pad_token_id"]) == (None, None)


def test_a_blank_before_texts_is_named_since_transformers_4_follows_the_setting(run: Path, tmp_path: Path) -> None:
    trained = byte_tokenizer(run / "models" / "adapted", pre_tokenizer=BLANK_FIRST)
    config = read_json(trained / "tokenizer_config.json")
    write_json(trained / "tokenizer_config.json", config | {"bos_token": "", "pad_token": ""})
    out = export_model(adopt(run), tmp_path / "out")
    assert read_json(out / "tokenizer_config.json")["add_prefix_space"] is True
    assert read_json(out / "generation_config.json")["bos_token_id"] is None
