"""What benchmarks/qa.py compares on: real questions, a seeded LLaMA, and the same tasks for lm-evaluation-harness."""

import importlib.metadata
import json
import os
import subprocess
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from pmc_llama.qa.prompts import render
from pmc_llama.qa.question import Question
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


def write_model(folder: Path, *, hidden: int, layers: int, spread: float, head_dim: int = 32) -> Path:
    """A random LLaMA with the real tokenizer, as a Hugging Face folder; its weights depend on their names alone."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=hidden // head_dim,
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


def our_side(questions: dict[str, list[Question]], name: str, shots: int, limit: int | None) -> dict[str, Any]:
    """What `score` needs to do the same as the harness' task `name`: questions, answers, and shots drawn likewise."""
    source = name.removesuffix("_texts")
    mine = questions[source][:limit]
    pool, kind = (questions["mmlu_dev"], "fixed") if source == "mmlu" else (questions[source], "sampled")
    answers = "texts" if name.endswith("_texts") else None
    return {"questions": mine, "answers": answers, "shots": choose_shots(mine, pool, shots, kind=kind)}


def contexts_of(ours: dict[str, Any]) -> list[str]:
    asked = zip(ours["questions"], ours["shots"], strict=True)
    return [render("lm-eval", question, ours["answers"], shots).context for question, shots in asked]


# --- the peer


KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_TOP_PAD_": str(2**26)}
"""Settings of glibc under which a process reuses what it freed: the harness' logits are gigabytes per batch."""


def run_peer(
    folder: Path,
    model: Path,
    tasks: Sequence[Task],
    *,
    dtype: str,
    threads: int,
    batch_size: int = 16,
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Let the harness score tasks, offline; see qa_peer.py. `env`: variables to add.

    Its log-softmax is in fp32, as ours is: in bf16 it would lose digits that decide between options.
    """
    job = {"model": str(model), "dtype": dtype, "softmax_dtype": "float32", "threads": threads}
    job |= {"max_length": MAX_LENGTH, "batch_size": batch_size}
    job |= {"tasks_dir": str(folder / "tasks"), "tasks": list(tasks), "out": str(folder / "peer.json")}
    (folder / "job.json").write_text(json.dumps(job))
    command = [str(PEER / "bin" / "python"), str(ROOT / "benchmarks" / "qa_peer.py"), str(folder / "job.json")]
    added = {"HF_HOME": str(folder / "hf"), **(env or {})}
    subprocess.run(command, check=True, env={**os.environ, **added}, stdout=subprocess.DEVNULL)
    return dict(json.loads((folder / "peer.json").read_text()))


def write_tasks(folder: Path) -> None:
    """The harness' own task files, pointed at local copies of the questions; only data, never prompts, are replaced."""
    stock = next(PEER.glob("lib/python*/site-packages/lm_eval/tasks"))
    tasks = folder / "tasks"
    tasks.mkdir()
    rows = native_rows()
    files_of = {name: write_rows(tasks / f"{name}.jsonl", found) for name, found in rows.items()}
    first = write_rows(tasks / "first.jsonl", rows["medmcqa"][-5:])
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


def native_rows() -> dict[str, list[Task]]:
    """The data sets' own files in the columns that the harness' tasks read, made without any of our readers."""
    labelled, official = _json("pubmedqa/ori_pqal.json"), _json("pubmedqa/test_ground_truth.json")
    exams = _json("headqa/dev_HEAD_EN.json")["exams"].values()
    medmcqa = _lines("medmcqa/dev.json")
    options = ("opa", "opb", "opc", "opd")
    mmlu = [
        {"question": row["question"], "choices": [row[name] for name in options], "answer": row["cop"] - 1}
        for row in medmcqa
        if row["subject_name"] == "Anatomy"
    ]
    medqa = [
        {"sent1": row["question"], "label": "ABCD".index(row["answer_idx"])}
        | {f"ending{i}": row["options"][letter] for i, letter in enumerate("ABCD")}
        for row in _lines("medqa/US/4_options/phrases_no_exclude_test.jsonl")
    ]
    return {
        "pubmedqa": [
            {key: labelled[pmid][key] for key in ("QUESTION", "CONTEXTS", "final_decision")} for pmid in official
        ],
        "medqa": medqa,
        "medmcqa": [
            {key: row[key] for key in ("id", "question", *options)} | {"cop": row["cop"] - 1} for row in medmcqa
        ],
        "headqa": [
            {key: row[key] for key in ("qid", "qtext", "answers")} | {"ra": int(row["ra"])}
            for exam in exams
            for row in exam["data"]
        ],
        "mmlu": mmlu[5:],
        "mmlu_dev": mmlu[:5],
    }


def _json(name: str) -> Any:
    return json.loads((DATA / "qa" / name).read_text())


def _lines(name: str) -> list[Task]:
    return [json.loads(line) for line in (DATA / "qa" / name).read_text().split("\n") if line]


def versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("torch", "transformers", "tokenizers")} | {
        "lm_eval": "0.4.13"
    }
