"""What the faster way of scoring would compute otherwise is scored, and asked, as transformers computes it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from model import matrix
from pmc_llama.model.load import load_for_inference
from pmc_llama.qa import plain
from pmc_llama.qa.encoding import encode_prompts
from pmc_llama.qa.plain import ALL, NONE, fast_up_to
from pmc_llama.qa.prompts import render
from pmc_llama.qa.score import score
from pmc_llama.qa.writers import TransformersWriter
from pmc_llama.recipe.qa import GenerationSection

OTHERS: dict[str, dict[str, Any]] = {
    "granite": {"logits_scaling": 8.0, "attention_multiplier": 0.2},
    "cohere": {},
    "gemma2": {"sliding_window": 16, "final_logit_softcapping": 3.0},
    "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 128},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "mamba": {},
    "falcon_h1": {
        **{"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8},
        "mamba_chunk_size": 16,
    },
}


def made(folder: Path, kind: str, precision: torch.dtype = torch.float32) -> Path:
    config = AutoConfig.for_model(kind, **{**matrix.SIZES, "vocab_size": 403, **OTHERS[kind]})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=precision)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.2)
    model.save_pretrained(folder / kind)
    return folder / kind


@pytest.mark.parametrize("kind", list(OTHERS))
def test_scores_are_transformers_own(tmp_path: Path, kind: str) -> None:
    folder, words = made(tmp_path, kind), matrix.tokenizer(tmp_path)
    model, right = load_for_inference(folder), matrix.plain(folder)
    for prompt, shots in (("lm-eval", 0), ("plain", 0), ("plain", 3)):
        asked = [tuple(matrix.QUESTIONS[:shots])] * len(matrix.QUESTIONS) if shots else None
        found = score(model, words, matrix.QUESTIONS, prompt=prompt, shots=asked, max_length=2048)
        for one, values in zip(found, matrix.plain_scores(right, words, prompt, shots), strict=True):
            assert one.option_logprobs == pytest.approx(values, abs=2e-4)
    assert fast_up_to(model) == NONE


def test_the_faster_way_is_taken_where_it_is_the_same(tmp_path: Path) -> None:
    for name, longest in (("llama-1", ALL), ("olmo2", ALL), ("phi3-longrope", NONE)):
        folder, _ = matrix.make(tmp_path, name, False, torch.bfloat16)
        model = load_for_inference(folder, dtype=torch.bfloat16)
        assert fast_up_to(model) == longest  # of longrope here, the bound lies below the probe


def test_a_way_that_gives_other_numbers_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = matrix.make(tmp_path, "llama-1", False, torch.float32)
    model = load_for_inference(folder)
    inner = model.lm_head.forward
    model.lm_head.forward = lambda hidden: 1.01 * inner(hidden)  # what no field of its configuration tells
    assert fast_up_to(model) == NONE

    def broken(*_: object) -> Any:
        raise ValueError("too many values to unpack")

    monkeypatch.setattr(plain, "score_rows", broken)
    assert fast_up_to(load_for_inference(folder)) == NONE


def test_what_a_configuration_says_counts_more_than_a_probe(tmp_path: Path) -> None:
    """Small logits are hardly capped, and rounding hides the rest; a trained model's are large."""
    config = AutoConfig.for_model("gemma2", **{**matrix.SIZES, "vocab_size": 403, "sliding_window": 512})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    assert config.final_logit_softcapping == 30.0 and fast_up_to(model) == NONE


@torch.no_grad()
def test_rounded_models_project_onto_the_vocabulary_in_fp32(tmp_path: Path) -> None:
    """In bf16 large logits are far apart, so that options would tie that do not."""
    folder, words = made(tmp_path, "granite", torch.bfloat16), matrix.tokenizer(tmp_path)
    model = load_for_inference(folder, dtype=torch.bfloat16)
    model.lm_head.weight.mul_(50)
    found = score(model, words, matrix.QUESTIONS, prompt="lm-eval")
    for one, question in zip(found, matrix.QUESTIONS, strict=True):
        encoded = encode_prompts(words, [render("lm-eval", question, None, ())])[0]
        right = []
        for part in encoded.continuations:
            hidden = model.base_model(torch.tensor([encoded.context + part[:-1]])).last_hidden_state[0, -len(part) :]
            logprobs = (hidden.float() @ model.lm_head.weight.float().T / 8).log_softmax(-1)
            right.append(float(logprobs.gather(1, torch.tensor(part)[:, None]).sum()))
        assert one.option_logprobs == pytest.approx(right, abs=1e-3)
    assert model.lm_head.forward.__func__ is torch.nn.Linear.forward  # as it was


def test_a_long_prompt_does_not_change_what_is_written_after_short_ones(tmp_path: Path) -> None:
    folder, _ = matrix.make(tmp_path, "phi3-longrope", False, torch.float32)
    words = matrix.tokenizer(tmp_path)
    drawn = torch.Generator().manual_seed(0)
    prompts = [torch.randint(3, 400, (size,), generator=drawn).tolist() for size in (90, 12, 20, 31)]
    how = GenerationSection(max_new_tokens=8)

    def written(asked: list[list[int]]) -> dict[int, tuple[str, ...]]:
        writer = TransformersWriter(load_for_inference(folder), words, max_length=512)
        return dict(writer.write(asked, [0] * len(asked), how))

    together = written(prompts)
    assert [together[i] for i in range(4)] == [written([one])[0] for one in prompts]
