"""Our predictions as lm-evaluation-harness writes its samples, so that tools made for those read ours too."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from pmc_llama import files
from pmc_llama.qa.generate import Generated
from pmc_llama.qa.prompts import Answers, Prompt, render
from pmc_llama.qa.question import Question
from pmc_llama.qa.score import Scored


def write_samples(
    path: Path,
    questions: Sequence[Question],
    results: Sequence[Scored | Generated],
    *,
    prompt: str = "lm-eval",
    answers: Answers | None = None,
    shots: Sequence[Sequence[Question]] | None = None,
) -> None:
    """Write one JSON line per question in the form of `lm_eval run --log_samples` (0.4.13), atomically.

    `prompt`, `answers` and `shots` are what the results were made with. Scores become `loglikelihood` requests with
    `acc` and `acc_norm`, written answers `generate_until` requests with `exact_match` on the option that was read.
    """
    solved = shots if shots is not None else [()] * len(questions)
    lines = []
    for i, (question, one, examples) in enumerate(zip(questions, results, solved, strict=True)):
        asked = render(prompt, question, answers, examples)
        about = _scored(question, one, asked) if isinstance(one, Scored) else _written(question, one, asked)
        doc = msgspec.to_builtins(question)
        target = str(about["target"])
        hashes = {"doc": files.sha256_json(doc), "target": files.sha256_bytes(target.encode())}
        hashes["prompt"] = files.sha256_bytes(asked.context.encode())
        sample = {"doc_id": i, "doc": doc, **about, **{f"{name}_hash": value for name, value in hashes.items()}}
        lines.append(msgspec.json.encode(sample) + b"\n")
    files.write_bytes(path, b"".join(lines))


def _scored(question: Question, scored: Scored, prompt: Prompt) -> dict[str, object]:
    answers = [
        [str(logprob), str(greedy)]
        for logprob, greedy in zip(scored.option_logprobs, scored.option_greedy, strict=True)
    ]
    lengths = [len(continuation.removeprefix(" ")) for continuation in prompt.continuations]
    by_length = [logprob / length for logprob, length in zip(scored.option_logprobs, lengths, strict=True)]
    return {
        "target": str(question.gold),
        "arguments": {
            f"gen_args_{i}": {"arg_0": prompt.context, "arg_1": continuation}
            for i, continuation in enumerate(prompt.continuations)
        },
        "resps": [[answer] for answer in answers],
        "filtered_resps": answers,
        "filter": "none",
        "metrics": ["acc", "acc_norm"],
        "acc": float(_first_largest(scored.option_logprobs) == question.gold),
        "acc_norm": float(_first_largest(by_length) == question.gold),
    }


def _written(question: Question, written: Generated, prompt: Prompt) -> dict[str, object]:
    read = question.labels[written.chosen] if written.chosen >= 0 else "[invalid]"  # the harness' word for no answer
    return {
        "target": question.labels[question.gold],
        "arguments": {"gen_args_0": {"arg_0": prompt.instruction, "arg_1": {}}},
        "resps": [list(written.texts)],
        "filtered_resps": [read],
        "filter": "parsed",
        "metrics": ["exact_match"],
        "exact_match": float(written.chosen == question.gold),
    }


def _first_largest(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)
