"""A run directory with a model small enough to train in a test: it answers one question, then stops."""

from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from adopt import adopt
from pmc_llama.files import write_json
from pmc_llama.minimed.tokenizer import train_tokenizer
from pmc_llama.tokens.convert import hf_tokenizer

QUESTION = "Question: Does zolimab lower blood pressure?\nAnswer:"
ANSWER = " yes"


def tiny_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    path = folder / "tokenizer.model"
    if not path.exists():
        texts = [QUESTION + ANSWER, "Patients with hypertension received zolimab for 12 weeks.", "no maybe A B C D"]
        train_tokenizer(texts * 20, 340, path)
    return hf_tokenizer(path)


def tiny_model(tokenizer: PreTrainedTokenizerBase, *, seed: int = 0, steps: int = 60) -> LlamaForCausalLM:
    """Trained to say " yes" and then the end-of-text token after QUESTION."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        rope_parameters={"rope_type": "default", "rope_theta": 20000.0},
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    ids = torch.tensor([[*tokenizer(QUESTION + ANSWER)["input_ids"], tokenizer.eos_token_id]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        model(ids, labels=ids).loss.backward()
        optimizer.step()
    return model.eval()


def save_model(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    model.save_pretrained(folder)
    GenerationConfig().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def recipe_of(root: Path, **more: Any) -> dict[str, Any]:
    return {
        "name": "tiny",
        "run_dir": "runs/elsewhere",
        "data": {"root": str(root)},
        "corpus": {"sources": [{"name": "s2orc", "paths": ["*.jsonl.gz"]}]},
        "tokenizer": {"path": "tokenizer.model"},
        "base": {"path": "base"},
        "tasks": {"medqa": {"format": "medqa", "train": "train.jsonl", "test": "test.jsonl"}},
        "regimes": {
            "full": {"kind": "full", "tasks": ["medqa"]},
            "lora": {"kind": "peft", "tasks": ["medqa"]},
            "zero_shot": {"kind": "zero_shot"},
        },
    } | more


def result_row(model: str, regime: str, correct: int) -> dict[str, Any]:
    cell = {"model": model, "regime": regime, "seed": 0, "task": "medqa", "protocol": "in_domain"}
    accuracy = correct / 200
    interval = [accuracy - 0.05, accuracy + 0.05]
    counts = {"n": 200, "correct": correct, "accuracy": accuracy, "ci95": interval, "parse_rate": 1.0}
    return cell | counts | {"macro_f1": 0.5, "ece": 0.1}


def write_results(run: Path) -> None:
    regimes = ("full", "zero_shot")
    pair = {"task": "medqa", "seed": 0, "n": 200, "b": 10, "c": 42, "delta": 0.16, "ci95": [0.09, 0.23]}
    results = {
        "rows": [result_row(*cell) for regime in regimes for cell in (("base", regime, 88), ("adapted", regime, 120))],
        "comparisons": [pair | {"regime": regime, "mcnemar_p": 9.7e-06, "holm_p": 9.7e-06} for regime in regimes],
        "summary": [],
        "baselines": [{"task": "medqa", "n": 200, "majority": 0.28, "majority_label": "C", "always_first": 0.25}],
    }
    write_json(run / "results.json", results)


def write_run(root: Path, *, base_dtype: torch.dtype = torch.float32, **recipe: Any) -> Path:
    """`root/base` and a run in `root/run` with an adapted model, a fully tuned one, a LoRA adapter, and results."""
    from peft import LoraConfig, get_peft_model

    tokenizer, run = tiny_tokenizer(root), root / "run"
    base = tiny_model(tokenizer, steps=5)
    save_model(base.to(base_dtype), tokenizer, root / "base")
    (root / "base" / "LICENSE.txt").write_text("The licence of the base.")
    (root / "base" / "README.md").write_text("---\nlicense: llama2\n---\n# base\n")
    # The wrong ids of some LLaMA conversions: they must not come through.
    wrong = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": -1}
    write_json(root / "base" / "generation_config.json", wrong)
    adapted = tiny_model(tokenizer)
    adapted.config.eos_token_id = 1
    save_model(adapted, tokenizer, run / "models" / "adapted")
    adapted.config.eos_token_id = tokenizer.eos_token_id
    save_model(tiny_model(tokenizer, seed=1), tokenizer, run / "tune/full/adapted/seed-0/model")
    lora = get_peft_model(adapted, LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"]))
    for name, value in lora.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.5)
    folder = run / "tune/lora/adapted/seed-0/model"
    lora.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe_of(root, **recipe)))
    write_results(run)
    return adopt(run)
