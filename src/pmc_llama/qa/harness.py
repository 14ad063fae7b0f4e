"""Our predictions as lm-evaluation-harness writes its samples, so that tools made for those read ours too."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from pmc_llama import files
from pmc_llama.qa.prompts import Answers, Prompt, render
from pmc_llama.qa.question import Question
from pmc_llama.qa.score import Scored


def write_samples(
    path: Path,
    questions: Sequence[Question],
    scored: Sequence[Scored],
    *,
    prompt: str = "lm-eval",
    answers: Answers | None = None,
    shots: Sequence[Sequence[Question]] | None = None,
) -> None:
    """Write one JSON line a question in the form of `lm_eval run --log_samples` (0.4.13), atomically.

    `prompt`, `answers` and `shots` are what the scores were made with.
    """
    solved = shots if shots is not None else [()] * len(questions)
    lines = [
        msgspec.json.encode(_sample(i, question, one, render(prompt, question, answers, examples)))
        for i, (question, one, examples) in enumerate(zip(questions, scored, solved, strict=True))
    ]
    files.write_bytes(path, b"".join(line + b"\n" for line in lines))


def _sample(doc_id: int, question: Question, scored: Scored, prompt: Prompt) -> dict[str, Any]:
    doc = msgspec.to_builtins(question)
    answers = [
        [str(logprob), str(greedy)]
        for logprob, greedy in zip(scored.option_logprobs, scored.option_greedy, strict=True)
    ]
    lengths = [len(continuation.removeprefix(" ")) for continuation in prompt.continuations]
    by_length = [logprob / length for logprob, length in zip(scored.option_logprobs, lengths, strict=True)]
    return {
        "doc_id": doc_id,
        "doc": doc,
        "target": str(question.gold),
        "arguments": {
            f"gen_args_{i}": {"arg_0": prompt.context, "arg_1": continuation}
            for i, continuation in enumerate(prompt.continuations)
        },
        "resps": [[answer] for answer in answers],
        "filtered_resps": answers,
        "filter": "none",
        "metrics": ["acc", "acc_norm"],
        "doc_hash": files.sha256_json(doc),
        "prompt_hash": files.sha256_bytes(prompt.context.encode()),
        "target_hash": files.sha256_bytes(str(question.gold).encode()),
        "acc": float(_first_largest(scored.option_logprobs) == question.gold),
        "acc_norm": float(_first_largest(by_length) == question.gold),
    }


def _first_largest(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)
