"""Scoring beside lm-evaluation-harness: equal answers on every question, and the speed of three kinds of task.

    python benchmarks/qa.py setup    # the peer's own environment, .venvs/lm_eval
    python benchmarks/qa.py parity   # all questions, tiny fp32 model: largest difference, arg-max, accuracy, contexts
    python benchmarks/qa.py golden   # the harness' answers that tests/qa/golden.json keeps
    python benchmarks/qa.py          # speed: same model, same questions, same precision and threads on both sides

Needs the real question files and the Mistral-v1 tokenizer (PMC_LLAMA_SHARED_DATA, default ../shared/data). Speed counts
from rendered questions and a loaded model to log-likelihoods, tokenising included; of the harness it counts the
`loglikelihood` call alone, its contexts being ready. Written: benchmarks/results/qa.json.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from pmc_llama import files
from pmc_llama.model.load import load_for_inference
from pmc_llama.qa.prompts import render
from pmc_llama.qa.question import Question
from pmc_llama.qa.score import Scored, score
from pmc_llama.qa.shots import choose_shots
from pmc_llama.qa.tasks import load_questions
from pmc_llama.recipe.qa import TaskSection
from pmc_llama.tokens.convert import hf_tokenizer

ROOT = Path(__file__).parents[1]
PEER = ROOT / ".venvs" / "lm_eval"
RESULTS = ROOT / "benchmarks" / "results"
DATA = Path(os.environ.get("PMC_LLAMA_SHARED_DATA", ROOT.parent / "shared" / "data"))
MAX_LENGTH = 2048
SECTIONS = {
    "pubmedqa": TaskSection(format="pubmedqa", test="qa/pubmedqa/ori_pqal.json"),
    "medqa": TaskSection(format="medqa", test="qa/medqa/US/4_options/phrases_no_exclude_test.jsonl"),
    "medmcqa": TaskSection(format="medmcqa", test="qa/medmcqa/dev.json"),
    "headqa": TaskSection(format="headqa", test="qa/headqa/dev_HEAD_EN.json"),
}
Task = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="speed", choices=["setup", "parity", "golden", "speed"])
    parser.add_argument("--tasks", nargs="*", default=[], help="of the parity run (none: all)")
    parser.add_argument("--limit", type=int, default=None, help="questions a task")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of the speed run")
    options = parser.parse_args()
    if options.what == "setup":
        set_up_peer()
        return
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "parity":
            keep_parity(run_parity(Path(folder), options.tasks, options.limit, options.threads))
        elif options.what == "golden":
            write_golden(Path(folder), options.threads)
        else:
            run_speed(Path(folder), options)


# --- the peer


def set_up_peer() -> None:
    """lm-evaluation-harness in an environment of its own, with the same torch."""
    subprocess.run([sys.executable, "-m", "venv", str(PEER)], check=True)
    torch_version = importlib.metadata.version("torch").split("+")[0]
    wanted = f"torch=={torch_version} transformers datasets accelerate sentencepiece protobuf lm_eval==0.4.13".split()
    subprocess.run([str(PEER / "bin" / "pip"), "install", "--quiet", *wanted], check=True)


def run_peer(folder: Path, model: Path, tasks: Sequence[Task], dtype: str, threads: int) -> dict[str, Any]:
    """Let the harness score tasks; see qa_peer.py."""
    job = {"model": str(model), "dtype": dtype, "threads": threads, "max_length": MAX_LENGTH}
    job |= {"tasks_dir": str(folder / "tasks"), "tasks": list(tasks), "out": str(folder / "peer.json")}
    (folder / "job.json").write_text(json.dumps(job))
    command = [str(PEER / "bin" / "python"), str(ROOT / "benchmarks" / "qa_peer.py"), str(folder / "job.json")]
    subprocess.run(command, check=True, env={**os.environ, "HF_HOME": str(folder / "hf")}, stdout=subprocess.DEVNULL)
    return dict(json.loads((folder / "peer.json").read_text()))


def write_tasks(folder: Path, questions: dict[str, list[Question]]) -> None:
    """The harness' own task files, pointed at local copies of the questions; only data, never prompts, are replaced."""
    stock = next(PEER.glob("lib/python*/site-packages/lm_eval/tasks"))
    tasks = folder / "tasks"
    tasks.mkdir()
    files_of = {name: write_rows(tasks / f"{name}.jsonl", rows(name, found)) for name, found in questions.items()}
    first = write_rows(tasks / "first.jsonl", rows("medmcqa", questions["medmcqa"][-5:]))
    local: dict[str, Any] = {"dataset_path": "json", "dataset_name": None, "tag": None, "training_split": None}
    only_test = {**local, "validation_split": None, "test_split": "test", "fewshot_split": "test"}
    shots = {**only_test, "fewshot_split": "shots", "fewshot_config": {"sampler": "first_n"}}
    texts = "{{[opa, opb, opc, opd]}}"
    definitions = {
        "pubmedqa": ("pubmedqa/pubmedqa.yaml", only_test, {"test": files_of["pubmedqa"]}),
        "medqa": ("medqa/medqa.yaml", only_test, {"test": files_of["medqa"]}),
        "medmcqa": ("medmcqa/medmcqa.yaml", only_test, {"test": files_of["medmcqa"]}),
        "headqa": ("headqa/headqa_en.yaml", only_test, {"test": files_of["headqa"]}),
        "mmlu": (
            "mmlu/default/mmlu_anatomy.yaml",
            {**shots, "task_alias": None},
            {"test": files_of["mmlu"], "shots": files_of["mmlu_dev"]},
        ),
        "medmcqa_texts": ("medmcqa/medmcqa.yaml", {**only_test, "doc_to_choice": texts}, {"test": files_of["medmcqa"]}),
        "medmcqa_fixed": ("medmcqa/medmcqa.yaml", shots, {"test": files_of["medmcqa"], "shots": first}),
    }
    for name, (stock_file, overrides, data_files) in definitions.items():
        task = {"include": str(stock / stock_file), "task": f"{name}_local", **overrides}
        task["dataset_kwargs"] = {"data_files": data_files}
        (tasks / f"{name}.yaml").write_text(yaml.safe_dump(task))


def write_rows(path: Path, values: list[Task]) -> str:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return str(path)


def rows(name: str, questions: Sequence[Question]) -> list[Task]:
    """Questions in the columns that the harness' task of this data set reads."""
    found = []
    for question in questions:
        options = question.options
        if name == "pubmedqa":
            row = {
                "QUESTION": question.question,
                "CONTEXTS": [question.context],
                "final_decision": options[question.gold],
            }
        elif name == "medqa":
            row = {
                "sent1": question.question,
                "label": question.gold,
                **{f"ending{i}": text for i, text in enumerate(options)},
            }
        elif name == "headqa":
            answers = [{"aid": i, "atext": text} for i, text in enumerate(options, 1)]
            row = {"qid": question.question_id, "qtext": question.question, "ra": question.gold + 1, "answers": answers}
        elif name.startswith("mmlu"):
            row = {"question": question.question, "choices": list(options), "answer": question.gold}
        else:
            row = {"id": question.question_id, "question": question.question, "cop": question.gold}
            row |= dict(zip(("opa", "opb", "opc", "opd"), options, strict=True))
        found.append(row)
    return found


# --- our side


def read_questions() -> dict[str, list[Question]]:
    """All test questions, and MedMCQA's anatomy questions in MMLU's form (MMLU's own are not among the data)."""
    found = {name: load_questions(name, section, DATA, "test") for name, section in SECTIONS.items()}
    anatomy = [question for question in found["medmcqa"] if question.subject == "Anatomy"]
    as_mmlu = [
        Question("mmlu", q.question_id, q.question, q.options, q.gold, subject="anatomy", format="mmlu")
        for q in anatomy
    ]
    return {**found, "mmlu": as_mmlu[5:], "mmlu_dev": as_mmlu[:5]}


def write_model(folder: Path, *, hidden: int, layers: int, spread: float) -> Path:
    """A random LLaMA with the real tokenizer, as a Hugging Face folder; its weights depend on their names alone."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        max_position_embeddings=MAX_LENGTH,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name:
                weight.normal_(0, spread, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    model.save_pretrained(folder)
    hf_tokenizer(DATA / "tokenizer" / "mistral-v1" / "tokenizer.model").save_pretrained(folder)
    return folder


# --- parity


def our_side(questions: dict[str, list[Question]], name: str, shots: int, limit: int | None) -> dict[str, Any]:
    """What `score` needs to do the same as the harness' task `name`: questions, answers, and shots drawn likewise."""
    source = name.removesuffix("_texts")
    mine = questions[source][:limit]
    pool, kind = (questions["mmlu_dev"], "fixed") if source == "mmlu" else (questions[source], "sampled")
    answers = "texts" if name.endswith("_texts") else None
    return {"questions": mine, "answers": answers, "shots": choose_shots(mine, pool, shots, kind=kind)}


def run_parity(folder: Path, tasks: Sequence[str], limit: int | None, threads: int) -> list[dict[str, Any]]:
    """Score every question of `tasks` (empty: all) on both sides; one row a task, shown as it comes.

    Shots are sampled as the harness does, but for MMLU's, which are the first of its development set.
    """
    questions = read_questions()
    write_tasks(folder, questions)
    model_path = write_model(folder / "model", hidden=128, layers=4, spread=0.2)
    few = min(60, limit or 60)
    plan = [(name, 0, limit) for name in ("pubmedqa", "medqa", "medmcqa", "mmlu", "headqa")]
    plan += [("medmcqa_texts", 0, min(500, limit or 500)), ("pubmedqa", 1, few)]
    plan += [(name, 5, few) for name in ("mmlu", "medmcqa", "medqa", "headqa")]
    plan = [row for row in plan if not tasks or row[0] in tasks]
    tokenizer, model = hf_tokenizer(model_path), load_for_inference(model_path)
    found = []
    for name, shots, count in plan:
        task = {"name": f"{name}_local", "shots": shots, "limit": count}
        peer = run_peer(folder, model_path, [task], "float32", threads)[f"{name}_local"]
        ours = our_side(questions, name, shots, count)
        scored = score(model, tokenizer, **ours, max_length=MAX_LENGTH)
        found.append({"task": name, "shots": shots, **compare(ours, scored, peer["samples"])})
        show = {key: f"{value:.2e}" if isinstance(value, float) else value for key, value in found[-1].items()}
        print("  ".join(f"{key}={value}" for key, value in show.items()), flush=True)
    return found


def compare(ours: dict[str, Any], scored: Sequence[Scored], samples: Sequence[Any]) -> dict[str, Any]:
    """How far both sides agree on one task."""
    contexts = contexts_of(ours)
    differences = [
        abs(a - b)
        for one, sample in zip(scored, samples, strict=True)
        for a, b in zip(one.option_logprobs, sample["logprobs"], strict=True)
    ]
    return {
        "n": len(scored),
        "contexts_equal": sum(a == sample["context"] for a, sample in zip(contexts, samples, strict=True)),
        "argmax_equal": sum(
            one.chosen == sample["logprobs"].index(max(sample["logprobs"]))
            for one, sample in zip(scored, samples, strict=True)
        ),
        "largest_difference": max(differences),
        "correct": sum(one.chosen == q.gold for one, q in zip(scored, ours["questions"], strict=True)),
        "peer_correct": round(sum(sample["acc"] for sample in samples)),
        "ties": sum(one.tie for one in scored),
        "truncated": sum(one.truncated for one in scored),
    }


def contexts_of(ours: dict[str, Any]) -> list[str]:
    asked = zip(ours["questions"], ours["shots"], strict=True)
    return [render("lm-eval", question, ours["answers"], shots).context for question, shots in asked]


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
    write_tasks(folder, questions)
    model_path = write_model(folder / "model", **GOLDEN_MODEL)
    found = []
    for name, shots, limit in GOLDEN_PLAN:
        task = {"name": f"{name}_local", "shots": shots, "limit": limit}
        samples = run_peer(folder, model_path, [task], "float32", threads)[f"{name}_local"]["samples"]
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


def keep_parity(found: list[dict[str, Any]]) -> None:
    """Keep the rows, beside those of tasks that were not run this time, and fail if any is not equal."""
    path = RESULTS / "qa_parity.json"
    kept = files.read_json(path)["rows"] if path.is_file() else []
    ran = {(row["task"], row["shots"]) for row in found}
    rows = [row for row in kept if (row["task"], row["shots"]) not in ran] + found
    rows.sort(key=lambda row: (row["shots"], row["task"]))
    files.write_json(path, {"versions": versions(), "rows": rows})
    bad = [
        row
        for row in found
        if not (
            row["contexts_equal"] == row["argmax_equal"] == row["n"]
            and row["correct"] == row["peer_correct"]
            and row["largest_difference"] <= 5e-5
        )
    ]
    if bad:
        sys.exit(f"not equal to the harness: {[(row['task'], row['shots']) for row in bad]}")


# --- speed

SPEED_ROWS = {  # our row: the harness' task and shots
    "letters": ("medqa_local", 0),
    "option-texts": ("medmcqa_texts_local", 0),
    "5-shot-fixed": ("medmcqa_fixed_local", 5),
}


def run_speed(folder: Path, options: argparse.Namespace) -> None:
    """Interleaved runs of both sides on the same questions; medians and their ratio."""
    questions = read_questions()
    limit = options.limit or 200
    write_tasks(folder, questions)
    model_path = write_model(folder / "model", hidden=512, layers=6, spread=0.05)
    tokenizer = hf_tokenizer(model_path)
    model = load_for_inference(model_path, dtype=getattr(torch, options.dtype))
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in SPEED_ROWS}
    jobs = [{"name": task, "shots": shots, "limit": limit} for task, shots in SPEED_ROWS.values()]
    for _ in range(options.runs):
        peer = run_peer(folder, model_path, jobs, options.dtype, options.threads)
        for name, (task, _) in SPEED_ROWS.items():
            ours_s, ours_cpu_s = _time_ours(model, tokenizer, questions, name, limit)
            theirs = {"peer_s": peer[task]["seconds"], "peer_cpu_s": peer[task]["cpu_seconds"]}
            runs[name].append({"ours_s": ours_s, "ours_cpu_s": ours_cpu_s, **theirs})
            print(name, {key: round(value, 2) for key, value in runs[name][-1].items()}, flush=True)
    report = {"hardware": hardware(options.threads), "versions": versions()}
    report["model"] = {"parameters": sum(p.numel() for p in model.parameters()), "dtype": options.dtype}
    report["rows"] = [_speed_row(name, limit, found) for name, found in runs.items()]
    files.write_json(RESULTS / "qa.json", report)
    for row in report["rows"]:
        speeds = f"{row['ours']:8.1f} {row['peer']:8.1f} {row['unit']}"
        print(f"{row['name']:14} {speeds}  ratio {row['ratio']:.1f}  (processor time {row['cpu_ratio']:.1f})")


def _time_ours(
    model: Any, tokenizer: Any, questions: dict[str, list[Question]], name: str, limit: int
) -> tuple[float, float]:
    """Seconds by the clock and of processor time."""
    mine = questions["medqa" if name == "letters" else "medmcqa"][:limit]
    shots = choose_shots(mine, questions["medmcqa"][-5:], 5) if name == "5-shot-fixed" else None
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    score(model, tokenizer, mine, shots=shots, answers="texts" if name == "option-texts" else None)
    return time.perf_counter() - started_s, time.process_time() - started_cpu_s


def _speed_row(name: str, limit: int, found: list[dict[str, float]]) -> dict[str, Any]:
    medians = {key: statistics.median(run[key] for run in found) for key in found[0]}
    return {
        "name": name,
        "unit": "questions/s",
        "ours": limit / medians["ours_s"],
        "peer": limit / medians["peer_s"],
        "peer_name": "lm_eval",
        "ratio": medians["peer_s"] / medians["ours_s"],
        "cpu_ratio": medians["peer_cpu_s"] / medians["ours_cpu_s"],
        "runs": found,
    }


def versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("torch", "transformers", "tokenizers")} | {
        "lm_eval": "0.4.13"
    }


def hardware(threads: int) -> dict[str, Any]:
    return {"machine": platform.machine(), "processor": platform.processor(), "threads": threads, "gpu": False}


if __name__ == "__main__":
    main()
