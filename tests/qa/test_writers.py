"""Where written answers end: a model that writes one token after another in a fixed order shows it."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from pmc_llama.files import write_json
from pmc_llama.model.inference import load_for_inference
from pmc_llama.model.stops import end_ids_of
from pmc_llama.qa.backends.vllm import VllmBackend
from pmc_llama.qa.writers import TransformersWriter, VllmWriter
from pmc_llama.recipe.qa import EvaluateSection, GenerationSection

HOW = GenerationSection(samples=1, max_new_tokens=6)


class Letters:
    """A tokenizer of single letters: `b` is token 1. No token is a special one."""

    eos_token_id = 9

    def batch_decode(self, rows: list[list[int]], skip_special_tokens: bool) -> list[str]:
        return ["".join(chr(ord("a") + token) for token in row) for row in rows]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that goes through its twelve tokens in order, over and over."""
    folder, size = tmp_path_factory.mktemp("chain"), 12
    config = LlamaConfig(
        **{"vocab_size": size, "hidden_size": 16, "intermediate_size": 8, "num_hidden_layers": 1},
        **{"num_attention_heads": 2, "max_position_embeddings": 64},
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim > 1:
                value.zero_()
        codes = torch.eye(size, 16)
        model.model.embed_tokens.weight.copy_(codes)
        model.lm_head.weight.copy_(codes.roll(1, 0))
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("named", "written"),
    [([4, 11], "bcd"), (4, "bcd"), (None, "bcdefg"), ([11, 9], "bcdefg"), ([3], "bc")],
    ids=["several", "one", "none", "none of those it writes", "another"],
)
def test_answers_end_at_the_tokens_that_the_model_names(chain: Path, named: Any, written: str) -> None:
    write_json(chain / "generation_config.json", {"eos_token_id": named, "do_sample": True, "max_length": 3})
    model = load_for_inference(chain)
    for _ in range(2):  # a second writer of one model knows it too
        found = dict(TransformersWriter(model, Letters()).write([[0], [3, 0]], [1, 2], HOW))
        assert found == {0: (written,), 1: (written,)}
    assert end_ids_of(chain, Letters()) == sorted({9, *(named if isinstance(named, list) else [named])} - {None})


def test_the_tokenizers_own_token_ends_them_too(chain: Path) -> None:
    write_json(chain / "generation_config.json", {"eos_token_id": [11]})
    assert list(TransformersWriter(load_for_inference(chain), Letters()).write([[6]], [1], HOW)) == [(0, ("hi",))]


def test_vllm_is_told_the_same_tokens(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    class Engine:
        def __init__(self, **settings: Any) -> None:
            self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=64))

        def generate(self, prompts: Any, settings: Any, lora_request: Any) -> list[Any]:
            asked.extend(settings)
            return [SimpleNamespace(outputs=[SimpleNamespace(text="b")])] * len(prompts)

    vllm = SimpleNamespace(LLM=Engine, SamplingParams=SimpleNamespace)
    for name, module in {"vllm": vllm, "vllm.lora": SimpleNamespace(), "vllm.lora.request": SimpleNamespace()}.items():
        monkeypatch.setitem(sys.modules, name, module)  # type: ignore[arg-type]
    monkeypatch.setattr(vllm, "LoRARequest", None, raising=False)
    monkeypatch.setattr(sys.modules["vllm.lora.request"], "LoRARequest", None, raising=False)
    write_json(chain / "generation_config.json", {"eos_token_id": [4, 11]})
    section = EvaluateSection(generation={"engine": "vllm", "samples": 1})
    writer = VllmBackend(chain, Letters(), section)._for_writing()
    assert isinstance(writer, VllmWriter)
    assert list(writer.write([[0]], [1], HOW)) == [(0, ("b",))]
    assert [one.stop_token_ids for one in asked] == [[4, 9, 11]]
