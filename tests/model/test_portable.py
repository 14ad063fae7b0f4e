from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from pmc_llama.files import read_json, write_json
from pmc_llama.model.portable import portable

FACTORS = {"short_factor": [1.0, 1.5], "long_factor": [2.0, 4.0]}
LONG = {"rope_type": "longrope", "rope_theta": 3e4, "original_max_position_embeddings": 32} | FACTORS
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {  # model, its fields, what version 4 reads
    "default": (
        "llama",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 25e4}},
        {"rope_theta": 25e4, "rope_scaling": None, "torch_dtype": "float32", "dtype": "float32"},
    ),
    "linear": (
        "llama",
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 3e4}},
        {"rope_theta": 3e4, "rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    ),
    "dynamic": (
        "llama",
        {"rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 3e4}},
        {"rope_theta": 3e4, "rope_scaling": {"rope_type": "dynamic", "factor": 4.0}},
    ),
    "longrope with a factor of its own": (
        "llama",
        {"rope_parameters": LONG | {"factor": 32.0}},
        {"original_max_position_embeddings": 32, "rope_scaling.attention_factor": 2**0.5},
    ),
    "longrope": (
        "llama",
        {"rope_parameters": LONG},
        {"original_max_position_embeddings": 32, "rope_scaling.attention_factor": None},
    ),
    "Phi-3": (
        "phi3",
        {"rope_parameters": LONG, "original_max_position_embeddings": 32},
        {"rope_theta": 3e4, "rope_scaling": {"type": "longrope"} | FACTORS},
    ),
    "part of each head": (
        "stablelm",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 3e4, "partial_rotary_factor": 0.5}},
        {"rope_theta": 3e4, "partial_rotary_factor": 0.5},
    ),
    "GPT-NeoX": (
        "gpt_neox",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 3e4, "partial_rotary_factor": 0.5}},
        {"rotary_emb_base": 3e4, "rotary_pct": 0.5},
    ),
    "by type of layer": (
        "gemma3_text",
        {
            "head_dim": 4,
            "layer_types": ["sliding_attention", "full_attention"],
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 2e4},
            },
        },
        {"rope_theta": 1e6, "rope_local_base_freq": 2e4, "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
    ),
} | {
    kind: (
        "llama",
        {"rope_parameters": {"rope_type": kind, "rope_theta": 3e4} | fields},
        {"rope_theta": 3e4, "rope_scaling": {"rope_type": kind} | fields},
    )
    for kind, fields in {
        "yarn": {"factor": 4.0, "original_max_position_embeddings": 64},
        "llama3": {
            **{"factor": 8.0, "low_freq_factor": 1.0},
            **{"high_freq_factor": 4.0, "original_max_position_embeddings": 64},
        },
    }.items()
}


@pytest.mark.parametrize("kind", KINDS)
def test_version_4_finds_its_names_and_version_5_the_same_model(tmp_path: Path, kind: str) -> None:
    """The names are those of transformers 4.57.6, whose logits were the same bit for bit for models of these kinds."""
    name, fields, expected = KINDS[kind]
    sizes = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 256}
    ids = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"))
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **sizes, **ids, **fields)).eval()
    model.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    written = portable(read_json(file))
    scaling = written["rope_scaling"] or {}
    flat = written | {f"rope_scaling.{name}": scaling.get(name) for name in ("attention_factor",)}
    assert {name: flat[name] for name in expected} == expected
    write_json(file, written)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    tokens = torch.arange(120)[None] % 40  # longer than the first training of those that were made longer
    with torch.inference_mode():
        assert torch.equal(loaded(tokens).logits, model(tokens).logits)
    assert portable(written) == written


def test_a_phi_3_that_version_4_cannot_describe_is_left_for_it_to_refuse() -> None:
    rope = LONG | {"attention_factor": 1.5}
    written = portable({"model_type": "phi3", "max_position_embeddings": 256, "rope_parameters": rope})
    assert written["rope_scaling"]["attention_factor"] == 1.5


def test_a_configuration_without_rope_keeps_its_fields() -> None:
    assert portable({"model_type": "gpt2", "torch_dtype": "bfloat16"}) == {
        **{"model_type": "gpt2", "torch_dtype": "bfloat16"},
        "dtype": "bfloat16",
    }
