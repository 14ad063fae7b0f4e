"""A run directory as the earlier stages leave it, made of chosen accuracies instead of trained models."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import yaml

from builders import write_store_info

FORMATS = {"pubmedqa": ("yes", "no", "maybe"), "medmcqa": ("A", "B", "C", "D"), "medqa": ("A", "B", "C", "D")}
TASKS = {"pubmed": "pubmedqa", "mcqa": "medmcqa", "usmle": "medqa"}
TUNED = ["pubmed", "mcqa"]
REGIMES: dict[str, dict[str, Any]] = {
    "full": {"kind": "full", "tasks": TUNED},
    "peft": {"kind": "peft", "tasks": TUNED},
    "efficient-10": {"kind": "full", "tasks": ["usmle"], "fraction": 0.1},
    "efficient-50": {"kind": "full", "tasks": ["usmle"], "fraction": 0.5},
    "efficient-100": {"kind": "full", "tasks": ["usmle"], "fraction": 1.0},
    "instruct": {"kind": "instruct", "files": ["rows.jsonl"]},
    "zero-shot": {"kind": "zero_shot"},
}
HOSTILE = "</script><script>window.broken = true</script><b>& \u2028 “quoted”"


def write_run(
    run_dir: Path,
    *,
    gain: float = 0.3,
    n: int = 120,
    seeds: tuple[int, ...] = (0, 1),
    regimes: dict[str, dict[str, Any]] | None = None,
    training: bool = True,
    corpora: bool = True,
    minimed: bool = True,
    others: dict[str, dict[str, Any]] | None = None,
) -> Path:
    """Write a run in which the adapted model is right with a probability `gain` higher than the base's.

    `others`: further models as a recipe has them, which answer like the base.
    """
    others = others or {}
    regimes = REGIMES if regimes is None else regimes
    rng = np.random.default_rng(0)
    run_dir.mkdir(parents=True, exist_ok=True)
    asked = recipe(run_dir, regimes, seeds, minimed) | {"models": others}
    (run_dir / "recipe.yaml").write_text(yaml.safe_dump(asked, sort_keys=False))
    facts = {"kind": "folder", "where": "models", "revision": None, "dtype": "float32", "tokenizer_sha256": "ab" * 32}
    known = {name: facts | {"parameters": 1_835_008 + i} for i, name in enumerate(("base", "adapted", *others))}
    write_json(run_dir / "models.json", known)
    write_json(
        run_dir / "environment.json",
        {
            "python": "3.11.2",
            "packages": {"torch": "2.13.0"},
            "git": {"commit": "0" * 40, "dirty": False},
            "hardware": {"cpu": "x86", "cores": 2, "memory_bytes": 2**34},
        },
    )
    questions = write_questions(run_dir / "questions.parquet", n)
    write_predictions(run_dir / "predictions.parquet", questions, regimes, seeds, gain, rng, others)
    if corpora:
        write_corpus(run_dir / "corpus", 1060, {"no_pmcid": 140, "duplicate_pmcid": 460}, rng)
        write_corpus(run_dir / "general", 600, {}, rng)
        for name, tokens in (("corpus", 3_548_000), ("general", 1_200_000)):
            write_store_info(run_dir / "tokens" / name, tokens, documents=460)
        hit = {"question_id": "usmle-0001", "document_id": "pmc:7", "kind": "ngram"}
        facts = {"questions": n, "questions_hit": 1, "documents_hit": 1, "untestable": 2, "kinds": {"ngram": 1}}
        facts |= {"question_ids": ["usmle-0001"]}
        facts["examples"] = [
            hit | {"text": "the words <they> share, thirteen at least, which is why this line is long"}
        ]
        nothing = facts | {"questions_hit": 0, "documents_hit": 0, "kinds": {}, "question_ids": [], "examples": []}
        texts = {
            "corpus": {"kind": "corpus", "documents": 460, "tasks": {"usmle": facts}},
            "questions/mcqa": {"kind": "questions", "documents": 100, "tasks": {"usmle": nothing}},
        }
        write_json(run_dir / "contamination" / "contamination.json", {"texts": texts})
    if training:
        write_training(run_dir, regimes, seeds, rng)
    return run_dir


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(value))


def recipe(run_dir: Path, regimes: dict[str, dict[str, Any]], seeds: tuple[int, ...], minimed: bool) -> dict[str, Any]:
    corpus = {"sources": [{"name": "papers", "paths": ["s2orc/*.gz"]}]}
    return {
        "name": "fake",
        "run_dir": str(run_dir),
        "seeds": list(seeds),
        **({"minimed": {"drugs": 48}} if minimed else {"data": {"root": "data"}}),
        "corpus": corpus,
        "general": corpus,
        "tokenizer": {"path": "tokenizer.model"},
        "base": {"config": {"hidden_size": 128}, "train": {}},
        "tasks": {
            name: {"format": form, "train": f"{name}.train", "test": f"{name}.test"} for name, form in TASKS.items()
        },
        "regimes": regimes,
    }


def write_questions(path: Path, n: int) -> pl.DataFrame:
    rows = []
    rng = np.random.default_rng(1)
    for task, form in TASKS.items():
        options = FORMATS[form]
        for i in range(n):
            texts = list(options) if form == "pubmedqa" else [f"{letter}. option {letter}{i}" for letter in options]
            stem = HOSTILE if i == 0 else f"Which disease is treated with drug {i} of {task}?"
            gold = int(
                rng.choice(
                    len(options), p=np.array([0.5, 0.3, 0.2, 0.0][: len(options)]) if form == "pubmedqa" else None
                )
            )
            rows.append(
                {
                    "task": task,
                    "question_id": f"{task}-{i:04}",
                    "subject": "pharmacology" if i % 2 else None,
                    "prompt": f"Question: {stem}\n" + "\n".join(texts) + "\nAnswer:",
                    "options": texts,
                    "gold": gold,
                }
            )
    frame = pl.DataFrame(rows, schema_overrides={"gold": pl.Int32})
    frame.write_parquet(path)
    return frame


def write_predictions(
    path: Path,
    questions: pl.DataFrame,
    regimes: dict[str, dict[str, Any]],
    seeds: tuple[int, ...],
    gain: float,
    rng: np.random.Generator,
    others: dict[str, dict[str, Any]],
) -> None:
    rows = []
    own: dict[str, dict[str, Any]] = {"base": {"tuned": True}, "adapted": {"tuned": True}}
    for models in (own, others):
        for regime, section in regimes.items():
            untuned = section["kind"] == "zero_shot"
            for seed in seeds[:1] if untuned else seeds:
                for model in [name for name, one in models.items() if untuned or one.get("tuned")]:
                    for question in questions.iter_rows(named=True):
                        rows.append(_answer(model, regime, seed, question, section, gain, rng))
    schema = {
        "seed": pl.Int64,
        "chosen": pl.Int32,
        "gold": pl.Int32,
        "parsed": pl.String,
        "option_logprobs": pl.List(pl.Float64),
        "option_scores": pl.List(pl.Float64),
    }
    pl.DataFrame(rows, schema_overrides=schema).write_parquet(path)


def _answer(
    model: str,
    regime: str,
    seed: int,
    question: dict[str, Any],
    section: dict[str, Any],
    gain: float,
    rng: np.random.Generator,
) -> dict[str, Any]:
    options, gold = len(question["options"]), question["gold"]
    tuned = 0.08 * section.get("fraction", 1.0) if section.get("tasks") else 0.0
    right = rng.random() < 1 / options + tuned + (
        gain * section.get("fraction", 1.0) if model == "adapted" and tuned else 0
    )
    chosen = gold if right else int(rng.choice([i for i in range(options) if i != gold]))
    logprobs = np.log(rng.dirichlet(np.ones(options)))
    best = int(np.argmax(logprobs))
    logprobs[[best, chosen]] = logprobs[[chosen, best]]
    unparsed = rng.random() < 0.01
    return {
        "model": model,
        "regime": regime,
        "seed": seed,
        "task": question["task"],
        "protocol": "in_domain" if question["task"] in section.get("tasks", []) else "out_of_domain",
        "question_id": question["question_id"],
        "option_logprobs": logprobs.tolist(),
        "chosen": -1 if unparsed else chosen,
        "gold": gold,
        "parsed": None,
        "truncated": bool(rng.random() < 0.02),
        "tie": False,
        "option_scores": logprobs.tolist(),
    }


def write_corpus(folder: Path, kept: int, dropped: dict[str, int], rng: np.random.Generator) -> None:
    kept -= sum(dropped.values())
    totals = {"in": kept + sum(dropped.values()), "kept": kept, "dropped": dropped}
    write_json(
        folder / "corpus.json",
        {
            "recipe_hash": "ab" * 32,
            **totals,
            "chars": kept * 38_000,
            "bytes_in": kept * 60_000,
            "sources": {"s2orc": totals},
            "parts": [{"file": "parts/part-00000.parquet", "rows": kept, "sha256": "cd" * 32}],
        },
    )
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    licences = rng.choice(["CCBY", "CC0", None], size=kept, p=[0.9, 0.08, 0.02])
    years = rng.integers(2004, 2020, size=kept)
    pl.DataFrame(
        {
            "paper_id": [f"pmc:{i}" for i in range(kept)],
            "license": [None if v is None else str(v) for v in licences],
            "year": years,
            "source": ["s2orc"] * kept,
            "text": [f"## Introduction\n\ntext\n\n## {i % 3}. Results\n\n#no heading" for i in range(kept)],
        },
        schema_overrides={"year": pl.Int32},
    ).write_parquet(folder / "parts" / "part-00000.parquet")


def write_training(
    run_dir: Path, regimes: dict[str, dict[str, Any]], seeds: tuple[int, ...], rng: np.random.Generator
) -> None:
    write_metrics(run_dir / "train" / "base", rng, start=7.6, end=4.2, steps=400)
    write_metrics(run_dir / "train" / "pretrain", rng, start=4.4, end=2.6, steps=300)
    for regime, section in regimes.items():
        for model, end in (("base", 1.2), ("adapted", 0.6)):
            for seed in seeds if section["kind"] != "zero_shot" else ():
                folder = run_dir / "tune" / regime / model / f"seed-{seed}"
                write_metrics(folder / "train", rng, start=1.5, end=end, steps=60, heldout=False)
                if section["kind"] == "instruct":
                    tally = {"rows": 1234, "kept": 1230, "truncated": 7, "dropped": {"no_output": 3, "not_json": 1}}
                    write_json(folder / "instructions.json", tally | {"sources": {"chat": 1000, "umls": 230}})


def write_metrics(
    folder: Path, rng: np.random.Generator, *, start: float, end: float, steps: int, heldout: bool = True
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for step in range(1, steps + 1):
        done = step / steps
        loss = end + (start - end) * np.exp(-5 * done) + rng.normal(0, 0.05)
        lines.append(
            {
                "step": step,
                "loss": loss,
                "lr": 1e-3 * (1 - done),
                "grad_norm": 1.0,
                "tokens": step * 8192,
                "tokens_per_second": 14_000 + rng.normal(0, 300),
                "coverage": min(1.0, done * 1.02),
                "coverage/corpus": min(1.0, done * 1.04),
                "coverage/general": done * 0.05,
                "seconds": 0.6,
            }
        )
        if heldout and (step == 1 or step % (steps // 8) == 0):
            measured = {"corpus": end + (start - end) * np.exp(-5 * done) + 0.1, "general": start - 0.2 + 0.5 * done}
            lines.append(
                {
                    "step": step,
                    "heldout": {
                        name: {"loss": value, "perplexity": float(np.exp(value)), "tokens": 20_000}
                        for name, value in measured.items()
                    },
                }
            )
    (folder / "metrics.jsonl").write_bytes(
        b"".join(msgspec.json.encode(line, enc_hook=float) + b"\n" for line in lines)
    )
