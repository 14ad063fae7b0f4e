"""Samples in the form that lm-evaluation-harness writes."""

import json
from pathlib import Path
from typing import Any

import torch

from pmc_llama.qa.harness import write_samples
from pmc_llama.qa.prompts import render
from pmc_llama.qa.score import score

from .conftest import make_questions


def test_samples_hold_what_the_harness_logs(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    questions = make_questions(5)
    scored = score(model, tokenizer, questions, max_length=400)
    write_samples(tmp_path / "samples.jsonl", questions, scored)
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [sample["doc_id"] for sample in samples] == list(range(5))
    for sample, question, one in zip(samples, questions, scored, strict=True):
        assert sample["arguments"]["gen_args_2"] == {"arg_0": render("lm-eval", question).context, "arg_1": " C"}
        assert [float(response[0][0]) for response in sample["resps"]] == list(one.option_logprobs)
        assert sample["filtered_resps"] == [response[0] for response in sample["resps"]]
        assert (sample["acc"], sample["target"]) == (float(one.chosen == question.gold), str(question.gold))


def test_greedy_is_what_the_model_would_write(model: Any, tokenizer: Any) -> None:
    from pmc_llama.qa.question import Question

    prompt = "Question: which of the?\nAnswer:"
    ids = tokenizer(prompt)["input_ids"]
    with torch.no_grad():
        first = model(torch.tensor([ids])).logits[0, -1].argmax().item()
    spoken = tokenizer.decode([*ids, first])[len(tokenizer.decode(ids)) :].strip()
    question = Question("made", "1", "which of the?", ("heart", spoken or "drug"), 0, format="headqa")
    [one] = score(model, tokenizer, [question])
    whole = tokenizer(f"{prompt} {question.options[1]}")["input_ids"]
    assert one.option_greedy == (False, whole[len(ids) :] == [first])
