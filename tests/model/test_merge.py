from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from pmc_llama.errors import InputError
from pmc_llama.files import read_json, write_json
from pmc_llama.model.merge import stored_dtype, write_weights

Tensors = dict[str, torch.Tensor]


def write_base(folder: Path, dtype: torch.dtype = torch.float32, **fields: Any) -> Path:
    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    config = LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, **fields)
    LlamaForCausalLM(config).to(dtype).save_pretrained(folder)
    return folder


def write_adapter(base: Path, folder: Path, **fields: Any) -> Path:
    settings = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "down_proj"], "task_type": "CAUSAL_LM"} | fields
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), LoraConfig(**settings))
    for name, value in model.named_parameters():
        if "lora_B" in name or "modules_to_save" in name or (value.requires_grad and name.endswith("bias")):
            torch.nn.init.normal_(value, std=0.3)
    model.save_pretrained(folder)
    return folder


def merged_by_peft(base: Path, adapter: Path) -> Tensors:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return PeftModel.from_pretrained(model, adapter).merge_and_unload().state_dict()


def written(folder: Path) -> Tensors:
    found: Tensors = {}
    for file in folder.glob("*.safetensors"):
        found |= load_file(file)
    return found


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.1.self_attn.q_proj": 32}},
        {"modules_to_save": ["lm_head", "norm"]},
    ],
    ids=["plain", "rank-stabilised", "patterns", "modules_to_save"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_merges_as_peft_does_in_fp32(tmp_path: Path, fields: dict[str, Any], dtype: torch.dtype) -> None:
    base = write_base(tmp_path / "base", dtype)
    adapter = write_adapter(base, tmp_path / "adapter", **fields)
    out = tmp_path / "out"
    out.mkdir()
    write_weights(base, out, dtype=torch.float32, adapter=adapter)
    found, expected = written(out), merged_by_peft(base, adapter)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-7, rtol=1e-6)
    plain = written(base)
    assert any(not torch.equal(found[name], plain[name].float()) for name in plain)


def test_a_tied_head_is_not_written_and_parts_are_small(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", tie_word_embeddings=True)
    whole = written(base)
    save_file(whole | {"lm_head.weight": whole["model.embed_tokens.weight"].clone()}, base / "model.safetensors")
    adapter = write_adapter(base, tmp_path / "adapter")
    out = tmp_path / "out"
    out.mkdir()
    write_weights(base, out, dtype=torch.bfloat16, adapter=adapter, part_bytes=2000)
    parts = sorted(out.glob("*.safetensors"))
    assert len(parts) > 3
    assert max(sum(value.nbytes for value in load_file(part).values()) for part in parts) <= 2000
    (out / "config.json").write_bytes((base / "config.json").read_bytes())
    assert set(read_json(out / "model.safetensors.index.json")["weight_map"].values()) == {one.name for one in parts}
    assert "lm_head.weight" not in written(out) and stored_dtype(out) == torch.bfloat16
    model, info = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    for name, value in merged_by_peft(base, adapter).items():
        assert torch.equal(model.state_dict()[name], value.bfloat16())


def test_a_head_that_is_said_to_be_tied_and_is_not_is_refused(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    write_json(base / "config.json", read_json(base / "config.json") | {"tie_word_embeddings": True})
    with pytest.raises(InputError, match=r"ties lm_head\.weight to model\.embed_tokens\.weight, but .* differ"):
        write_weights(base, tmp_path, dtype=torch.float32)


def test_refuses_what_is_no_plain_lora_of_the_base(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    adapter = write_adapter(base, tmp_path / "adapter")
    config, tensors = read_json(adapter / "adapter_config.json"), load_file(adapter / "adapter_model.safetensors")
    last = sorted(tensors)[-1]

    def refused(change: dict[str, Any], values: Tensors, match: str) -> None:
        write_json(adapter / "adapter_config.json", config | change)
        save_file(values, adapter / "adapter_model.safetensors")
        with pytest.raises(InputError, match=match):
            write_weights(base, tmp_path, dtype=torch.float32, adapter=adapter)
        assert not list(tmp_path.glob("*.safetensors"))

    refused({"use_dora": True}, tensors, r"not a plain LoRA \(use_dora\)")
    refused({"fan_in_fan_out": True}, tensors, "fan_in_fan_out")
    refused({"init_lora_weights": "pissa"}, tensors, "init_lora_weights: pissa")
    refused({"peft_type": "IA3"}, tensors, "peft_type: IA3")
    refused({}, {name: value for name, value in tensors.items() if name != last}, "belongs to no weight of its base")
    more = {name.replace("layers.1", "layers.7"): value for name, value in tensors.items()}
    refused({}, more, r"layers\.7\..* belongs to no weight of its base")
    refused({}, {"base_model.model.lm_head.weights": torch.ones(2)}, r"lm_head\.weights belongs to no weight")
    refused({}, tensors | {last: tensors[last][:, :1].clone().contiguous()}, "its base")


def test_values_that_fp16_cannot_hold_are_refused(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    whole = written(base)
    whole["model.norm.weight"][3] = 1e6
    save_file(whole, base / "model.safetensors")
    with pytest.raises(InputError, match=r"model\.norm\.weight has values that fp16 cannot hold"):
        write_weights(base, tmp_path, dtype=torch.float16)
