from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from pmc_llama.files import read_json, write_json
from pmc_llama.model.save import export_hf
from release.tiny import save_model, tiny_model, tiny_tokenizer


@pytest.mark.parametrize(("named", "expected"), [([2, 5], [2, 5]), ([7, 8], 2), (1, 2), (None, 2)])
def test_a_trained_model_ends_where_its_base_does(tmp_path: Path, named: Any, expected: Any) -> None:
    tokenizer = tiny_tokenizer(tmp_path)
    assert tokenizer.eos_token_id == 2
    save_model(tiny_model(tokenizer, steps=0), tokenizer, tmp_path / "base")
    write_json(tmp_path / "base/generation_config.json", {"eos_token_id": named, "do_sample": True})
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path / "base"))
    export_hf(model, tokenizer, tmp_path / "out")
    assert read_json(tmp_path / "out/generation_config.json")["eos_token_id"] == expected
    assert read_json(tmp_path / "out/config.json")["rope_theta"] == 20000.0  # for transformers 4
