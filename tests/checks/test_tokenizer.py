"""What is wrong with a tokenizer is told before anything runs."""

from pathlib import Path
from typing import Any

from tests.folders import byte_tokenizer

from pmc_llama.checks import problems
from pmc_llama.files import read_json, write_json
from pmc_llama.recipe import Recipe


def told(good: dict[str, Any], folder: Path) -> list[str]:
    return problems(Recipe.model_validate(good | {"tokenizer": {"path": str(folder)}}), {"pretrain", "finetune"})


def test_a_tokenizer_without_an_end_of_text_is_told_in_one_sentence(good: dict[str, Any], tmp_path: Path) -> None:
    found = told(good, byte_tokenizer(tmp_path, eos_token=None))
    assert [problem for problem in found if "end-of-text" in problem] == [
        "tokenizer.path: the tokenizer has no end-of-text token: nothing would end a document or an answer"
    ]


def test_files_that_disagree_are_told(good: dict[str, Any], tmp_path: Path) -> None:
    folder = byte_tokenizer(tmp_path)
    added = {"content": "COVID", "lstrip": False, "rstrip": False, "normalized": True, "single_word": False}
    config = read_json(folder / "tokenizer_config.json")
    write_json(folder / "tokenizer_config.json", config | {"added_tokens_decoder": {"400": added | {"special": False}}})
    assert any("encoded otherwise than papers" in problem for problem in told(good, folder))
