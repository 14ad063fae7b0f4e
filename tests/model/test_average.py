"""Merging models: each rule against a few numbers worked out by hand, and files that plain transformers loads."""

import math
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from pmc_llama.errors import InputError
from pmc_llama.files import read_json, write_json
from pmc_llama.model.average import Rule, average_weights

Tensors = dict[str, torch.Tensor]


def rule(method: Literal["linear", "slerp", "dare_ties"], weight: float = 0.5, density: float = 0.5) -> Rule:
    return Rule(method, weight, density)


def merged(one: Rule, *rows: list[float]) -> list[float]:
    return one.merged("w", [torch.tensor(row) for row in rows]).tolist()


def test_linear_is_the_way_to_the_mean_of_the_others() -> None:
    assert merged(rule("linear", 0.25), [0.0, 4.0], [4.0, 0.0]) == [1.0, 3.0]
    assert merged(rule("linear", 0.5), [0.0], [2.0], [6.0]) == [2.0]


def test_slerp_goes_along_the_arc() -> None:
    half = math.sqrt(0.5)
    assert merged(rule("slerp"), [1.0, 0.0], [0.0, 1.0]) == pytest.approx([half, half])
    third = merged(rule("slerp", 1 / 3), [2.0, 0.0], [0.0, 2.0])
    assert third == pytest.approx([2 * math.cos(math.pi / 6), 2 * math.sin(math.pi / 6)])
    assert merged(rule("slerp"), [1.0, 1.0], [3.0, 3.0]) == pytest.approx([2.0, 2.0])
    assert merged(rule("slerp"), [0.0, 0.0], [2.0, 2.0]) == pytest.approx([math.sqrt(2), math.sqrt(2)])


def test_dare_ties_adds_what_most_agree_on() -> None:
    whole = rule("dare_ties", 1.0, density=1.0)
    assert merged(whole, [1.0, 1.0, 1.0], [4.0, 0.0, 1.0]) == [4.0, 0.0, 1.0]
    assert merged(whole, [0.0, 0.0, 0.0], [3.0, 1.0, 0.0], [1.0, -4.0, 2.0]) == [2.0, -4.0, 2.0]
    assert merged(rule("dare_ties", 0.5, density=1.0), [2.0], [4.0]) == [3.0]


def test_dare_keeps_a_share_and_the_mean() -> None:
    base, other = torch.zeros(40_000), torch.ones(40_000)
    one = rule("dare_ties", 1.0, density=0.25)
    found = one.merged("w", [base, other])
    assert set(found.tolist()) == {0.0, 4.0}
    assert float(found.mean()) == pytest.approx(1.0, abs=0.03)
    assert torch.equal(found, one.merged("w", [base, other])) and not torch.equal(found, one.merged("v", [base, other]))


def write_model(folder: Path, seed: int, dtype: torch.dtype = torch.float32, **fields: Any) -> Path:
    torch.manual_seed(seed)
    sizes = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    config = LlamaConfig(**(sizes | fields), num_attention_heads=4, num_key_value_heads=2)
    LlamaForCausalLM(config).to(dtype).save_pretrained(folder)
    return folder


def read(folder: Path) -> Tensors:
    found: Tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    return found


def test_ends_of_the_way_are_the_models_and_parts_make_no_difference(tmp_path: Path) -> None:
    folders = [write_model(tmp_path / str(seed), seed) for seed in (0, 1)]
    models = [read(folder) for folder in folders]
    for method in ("linear", "slerp"):
        for weight, model in ((0.0, models[0]), (1.0, models[1])):
            out = tmp_path / f"{method}-{weight}"
            out.mkdir()
            average_weights(folders, out, rule(method, weight))
            torch.testing.assert_close(read(out), model, atol=1e-6, rtol=1e-5)
    for part_bytes, name in ((2**30, "one"), (5000, "many")):
        (tmp_path / name).mkdir()
        average_weights(folders, tmp_path / name, rule("linear"), part_bytes=part_bytes)
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 3
    torch.testing.assert_close(read(tmp_path / "many"), read(tmp_path / "one"), atol=0, rtol=0)
    write_json(tmp_path / "many" / "config.json", read_json(folders[0] / "config.json"))
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "many").state_dict()
    for key, value in models[0].items():
        torch.testing.assert_close(loaded[key], (value + models[1][key]) / 2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vocab_size": 60}, r"lm_head\.weight is \(50, 16\) in one, \(60, 16\) in the other"),
        ({"num_hidden_layers": 1}, r"is \(16,\) in one, not there in the other"),
        ({"rms_norm_eps": 1e-5}, "rms_norm_eps is 1e-06 in one, 1e-05 in the other"),
    ],
)
def test_models_that_do_not_fit_are_refused(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    folders = [write_model(tmp_path / "a", 0), write_model(tmp_path / "b", 1, **fields)]
    with pytest.raises(InputError, match=message):
        average_weights(folders, tmp_path, rule("linear"))


def test_the_result_has_the_last_ones_type(tmp_path: Path) -> None:
    folders = [write_model(tmp_path / "a", 0), write_model(tmp_path / "b", 1, torch.bfloat16)]
    (tmp_path / "out").mkdir()
    average_weights(folders, tmp_path / "out", rule("linear"))
    assert {value.dtype for value in read(tmp_path / "out").values()} == {torch.bfloat16}
