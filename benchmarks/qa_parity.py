"""Every question on both sides: contexts byte by byte, arg-max, accuracy, largest difference of log-likelihoods.

The model is a seeded fp32 LLaMA of 4 layers with the Mistral-v1 vocabulary, its weights large enough that options
differ. Without shots all questions are scored; with five (PubMedQA also one) all contexts are compared and the first
FEW questions scored.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pmc_llama import files
from pmc_llama.model.load import load_for_inference
from pmc_llama.qa.score import Scored, score
from pmc_llama.tokens.convert import hf_tokenizer
from qa_tasks import (
    KEEP_MEMORY,
    MAX_LENGTH,
    RESULTS,
    ROOT,
    contexts_of,
    our_side,
    read_questions,
    run_peer,
    versions,
    write_model,
    write_tasks,
)

TOLERANCE, RELATIVE = 5e-5, 1e-6
FEW = 100
NAMES = ("pubmedqa", "medqa", "medmcqa", "mmlu", "headqa")
PLAN = [*((name, 0) for name in NAMES), ("medmcqa_texts", 0), ("pubmedqa", 1), *((name, 5) for name in NAMES)]


def run_parity(folder: Path, tasks: Sequence[str], limit: int | None, threads: int) -> None:
    """Compare `tasks` (empty: all), row by row; each row is kept as it comes, and a row that is not equal ends it all.

    Shots are sampled as the harness does, but for MMLU's, which are the first of its development set.
    """
    questions = read_questions()
    write_tasks(folder)
    model_path = write_model(folder / "model", hidden=128, layers=4, spread=0.2)
    tokenizer, model = hf_tokenizer(model_path), load_for_inference(model_path)
    for name, shots in PLAN:
        if tasks and name not in tasks and f"{name}:{shots}" not in tasks:
            continue
        job = {"name": f"{name}_local", "shots": shots, "limit": min(limit or FEW, FEW) if shots else limit}
        asked = [job | {"all_contexts": shots > 0}]
        machine = {"threads": threads, "batch_size": 4 if shots else 16, "env": KEEP_MEMORY}
        peer = run_peer(folder, model_path, asked, dtype="float32", **machine)[f"{name}_local"]
        ours = our_side(questions, name, shots, job["limit"])
        scored = score(model, tokenizer, **ours, max_length=MAX_LENGTH)
        row = {"task": name, "shots": shots, **compare(ours, scored, peer["samples"])}
        if shots:
            pairs = zip(contexts_of(our_side(questions, name, shots, None)), peer["contexts"], strict=True)
            row |= {"contexts": len(peer["contexts"]), "contexts_equal": sum(a == b for a, b in pairs)}
        show = {key: f"{value:.2e}" if isinstance(value, float) else value for key, value in row.items()}
        print("  ".join(f"{key}={value}" for key, value in show.items()), flush=True)
        keep(row)


def compare(ours: dict[str, Any], scored: Sequence[Scored], samples: Sequence[Any]) -> dict[str, Any]:
    """How far both sides agree on the scored questions of one task."""
    pairs = [
        pair
        for one, sample in zip(scored, samples, strict=True)
        for pair in zip(one.option_logprobs, sample["logprobs"], strict=True)
    ]
    same = [
        one.chosen == sample["logprobs"].index(max(sample["logprobs"]))
        for one, sample in zip(scored, samples, strict=True)
    ]
    near = [_nearly_tied(sample["logprobs"]) for sample in samples]
    return {
        "contexts": len(samples),
        "contexts_equal": sum(a == sample["context"] for a, sample in zip(contexts_of(ours), samples, strict=True)),
        "scored": len(scored),
        "argmax_equal": sum(same),
        "argmax_nearly_tied": sum(close and not equal for equal, close in zip(same, near, strict=True)),
        "largest_difference": max(abs(a - b) for a, b in pairs),
        "largest_relative_difference": max(abs(a - b) / abs(b) for a, b in pairs),
        "correct": sum(one.chosen == q.gold for one, q in zip(scored, ours["questions"], strict=True)),
        "peer_correct": round(sum(sample["acc"] for sample in samples)),
        "ties": sum(one.tie for one in scored),
        "truncated": sum(one.truncated for one in scored),
    }


def _nearly_tied(logprobs: Sequence[float]) -> bool:
    """Whether the best two are so close (options of equal text, mostly) that rounding decides between them."""
    first, second = sorted(logprobs, reverse=True)[:2]
    return first - second < 2 * TOLERANCE


def keep(row: dict[str, Any]) -> None:
    """Keep a row beside those of other tasks, and fail if it is not equal."""
    path = RESULTS / "qa_parity.json"
    kept = files.read_json(path)["rows"] if path.is_file() else []
    rows = [one for one in kept if (one["task"], one["shots"]) != (row["task"], row["shots"])] + [row]
    rows.sort(key=lambda one: PLAN.index((one["task"], one["shots"])))
    files.write_json(path, {"versions": versions(), "rows": rows})
    texts = row["task"] in ("headqa", "medmcqa_texts")  # sums over many tokens: hundreds of nats, in fp32
    close = row["largest_relative_difference"] <= RELATIVE if texts else row["largest_difference"] <= TOLERANCE
    equal = (
        row["contexts_equal"] == row["contexts"] and row["argmax_equal"] + row["argmax_nearly_tied"] == row["scored"]
    )
    equal = equal and close and abs(row["correct"] - row["peer_correct"]) <= row["argmax_nearly_tied"]
    if not equal:
        sys.exit(f"not equal to the harness: {row}")


# --- golden values

GOLDEN_MODEL = {"hidden": 64, "layers": 2, "spread": 0.2}
GOLDEN_PLAN = [
    *((name, 0, 12) for name in ("pubmedqa", "medqa", "medmcqa", "headqa", "mmlu", "medmcqa_texts")),
    *((name, 5, 5) for name in ("medqa", "medmcqa", "headqa", "mmlu")),
    ("pubmedqa", 1, 5),
]


def write_golden(folder: Path, threads: int) -> None:
    """The harness' answers to a few questions, for the tests: numbers and hashes, no text of any data set."""
    questions = read_questions()
    write_tasks(folder)
    model_path = write_model(folder / "model", **GOLDEN_MODEL)
    found = []
    for name, shots, limit in GOLDEN_PLAN:
        task = {"name": f"{name}_local", "shots": shots, "limit": limit}
        samples = run_peer(folder, model_path, [task], dtype="float32", threads=threads)[f"{name}_local"]["samples"]
        items = [
            {
                "question_id": question.question_id,
                "context_sha256": files.sha256_bytes(sample["context"].encode()),
                "logprobs": sample["logprobs"],
                "acc": sample["acc"],
            }
            for question, sample in zip(our_side(questions, name, shots, limit)["questions"], samples, strict=True)
        ]
        found.append({"task": name, "shots": shots, "items": items})
    files.write_json(ROOT / "tests" / "qa" / "golden.json", {"versions": versions(), "rows": found})
