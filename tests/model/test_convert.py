"""Old pickled checkpoints become safetensors that load as the same model, and nothing in them is run."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from pmc_llama.errors import InputError
from pmc_llama.model.convert import convert_bin
from train.tiny import CONFIG, VOCAB


@pytest.mark.parametrize("parts", [1, 2])
def test_the_converted_model_is_the_same(tmp_path: Path, parts: int) -> None:
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**CONFIG, vocab_size=VOCAB))
    old = tmp_path / "old"
    old.mkdir()
    model.config.save_pretrained(old)
    state = model.state_dict() | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)}
    names = list(state)
    for part in range(parts):
        suffix = "" if parts == 1 else f"-{part + 1:05d}-of-{parts:05d}"
        torch.save({name: state[name] for name in names[part::parts]}, old / f"pytorch_model{suffix}.bin")
    convert_bin(old, tmp_path / "new")
    with pytest.raises(InputError, match="new exists"):
        convert_bin(old, tmp_path / "new")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "new")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert (tmp_path / "new/model.safetensors.index.json").exists() == (parts > 1)
    assert json.loads((tmp_path / "new/config.json").read_text())["hidden_size"] == CONFIG["hidden_size"]


def test_a_file_with_code_in_it_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": Path("harmless")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="not a file of tensors alone"):
        convert_bin(tmp_path, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match=r"no pytorch_model\*\.bin"):
        convert_bin(tmp_path / "nowhere", tmp_path / "new")
