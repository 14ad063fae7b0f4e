"""An independent reading of a run directory: corpora, contamination, training and tuning data, with none of our code.

Each function gives the rows of some of the page's tables: by the values that name a row, its numbers by column.
"""

import json
import math
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Rows = dict[tuple[str, ...], dict[str, Any]]
CURVE = ("curve", "step")
POINTS = 150


def tables(run_dir: Path) -> dict[str, tuple[tuple[str, ...], Rows]]:
    """Every table of the page that is not about answers: what names its rows, and its rows."""
    found: dict[str, tuple[tuple[str, ...], Rows]] = {}
    for folder in (run_dir / "corpus", run_dir / "general", *(run_dir / "extra").glob("*")):
        if (folder / "corpus.json").is_file():
            found |= _of_corpus(folder)
    if (run_dir / "contamination" / "contamination.json").is_file():
        found["contamination"] = (("text", "task"), _contamination(run_dir))
        found["contamination-examples"] = (("text", "task"), {})
    if (run_dir / "models.json").is_file():
        models = json.loads((run_dir / "models.json").read_text())
        found["models"] = (("model",), _parameters(models))
    found["prompts"] = (("model", "prompt", "task"), _prompts(run_dir))
    found["instructions"] = (("regime", "outcome"), _instructions(run_dir))
    return found | {name: (CURVE, rows) for name, rows in _curves(run_dir).items()}


def _parameters(models: dict[str, Any]) -> Rows:
    """Of the models whose size is known."""
    return {(name,): {"parameters": one["parameters"]} for name, one in models.items() if one["parameters"]}


def _prompts(run_dir: Path) -> Rows:
    rows: Rows = {}
    for file in run_dir.glob("prompts/*.json"):
        for one in json.loads(file.read_text())["scores"]:
            numbers = {"n": one["n"], "correct": one["correct"], "accuracy": one["correct"] / one["n"]}
            rows[file.stem, one["prompt"], one["task"]] = numbers
    return rows


def _of_corpus(folder: Path) -> dict[str, tuple[tuple[str, ...], Rows]]:
    name, totals = folder.name, json.loads((folder / "corpus.json").read_text())
    papers = pa.concat_tables(
        pq.read_table(file, columns=["license", "year", "text"])
        for file in sorted((folder / "parts").glob("*.parquet"))
    ).to_pylist()
    steps = {"in": totals["in"], "kept": totals["kept"]}
    steps |= {reason.replace("_", " "): number for reason, number in totals["dropped"].items()}
    years = Counter(one["year"] for one in papers)
    licences = Counter(one["license"] or "not stated" for one in papers)
    first = papers[:2000]
    sections = Counter(
        heading for one in first for heading in {line.strip("# ").lower() for line in _headings(one["text"])}
    )
    sources = {(source,): {"in": one["in"], "kept": one["kept"]} for source, one in totals["sources"].items()}
    removed = {(rule.replace("_", " "),): {"chars": n} for rule, n in totals.get("chars_removed", {}).items() if n}
    return {
        f"funnel-{name}": (("step",), {(k,): {"papers": n, "share": n / totals["in"]} for k, n in steps.items()}),
        f"years-{name}": (("year",), _shares({str(k): n for k, n in years.items() if k is not None}, len(papers))),
        f"licences-{name}": (("license",), _shares(licences, len(papers))),
        f"sections-{name}": (("section",), _shares(sections, len(first))),
        f"sources-{name}": (("source",), sources),
        f"cleaning-{name}": (("rule",), removed),
    }


def _headings(text: str) -> list[str]:
    return [line for line in text.split("\n") if re.match(r"#{2,6} .", line)]


def _shares(counts: dict[str, int], total: int) -> Rows:
    return {(name,): {"papers": number, "share": number / total} for name, number in counts.items()}


def _contamination(run_dir: Path) -> Rows:
    names = ("questions", "questions_hit", "documents_hit", "untestable")
    texts = json.loads((run_dir / "contamination" / "contamination.json").read_text())["texts"]
    return {
        (name, task): {key: one[key] for key in names} | {"share": one["questions_hit"] / one["questions"]}
        for name, text in texts.items()
        for task, one in text["tasks"].items()
    }


def _instructions(run_dir: Path) -> Rows:
    rows: Rows = {}
    tallies: dict[str, dict[str, Any]] = {}
    for file in sorted(run_dir.glob("tune/*/*/*/instructions.json")):
        tally, regime = json.loads(file.read_text()), file.parents[2].name
        if regime not in tallies or tally["truncated"] > tallies[regime]["truncated"]:
            tallies[regime] = tally
    for regime, tally in tallies.items():
        outcomes = {f"used: {name}": number for name, number in tally["sources"].items()}
        outcomes |= {f"dropped: {name.replace('_', ' ')}": number for name, number in tally["dropped"].items()}
        outcomes["used, without the beginning of the prompt"] = tally["truncated"]
        total = sum(tally["sources"].values()) + sum(tally["dropped"].values())
        rows |= {(regime, name): {"rows": n, "share": n / total} for name, n in outcomes.items() if n}
    return rows


def _curves(run_dir: Path) -> dict[str, Rows]:
    found: dict[str, Rows] = {}
    for name in ("base", "pretrain"):
        steps, heldout = read_metrics(run_dir / "train" / name / "metrics.jsonl")
        if steps or heldout:
            found[f"loss-{name}"] = _curve("training", [(step, one["loss"]) for step, one in steps.items()])
            for text in _texts(heldout):
                found[f"loss-{name}"] |= _curve(f"held-out {text}", _measured(heldout, text, "loss"))
    steps, heldout = read_metrics(run_dir / "train" / "pretrain" / "metrics.jsonl")
    found["perplexity"] = {}
    for text in _texts(heldout):
        found["perplexity"] |= _curve(text, _measured(heldout, text, "perplexity"))
    found["coverage"] = {}
    for key in next(reversed(steps.values()), {}):
        if key == "coverage" or key.startswith("coverage/"):
            name = key[len("coverage/") :] or "all"
            found["coverage"] |= _curve(name, [(step, 100 * one[key]) for step, one in steps.items()])
    tuned: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for file in sorted(run_dir.glob("tune/*/*/*/train/metrics.jsonl")):
        tuned[file.parents[3].name, file.parents[2].name].append(file)
    for (regime, model), files in tuned.items():
        for i, file in enumerate(files, 1):
            label = f"{model}, run {i}" if len(files) > 1 else model
            curve = [(step, one["loss"]) for step, one in read_metrics(file)[0].items()]
            found.setdefault(f"loss-tune-{regime}", {}).update(_curve(label, curve))
    return found


def read_metrics(path: Path) -> tuple[dict[int, Any], dict[int, Any]]:
    """Training steps and held-out measurements, each by step; what was logged later counts."""
    steps: dict[int, Any] = {}
    heldout: dict[int, Any] = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        one = json.loads(line)
        (heldout if "heldout" in one else steps)[one["step"]] = one.get("heldout", one)
    return dict(sorted(steps.items())), dict(sorted(heldout.items()))


def _texts(heldout: dict[int, Any]) -> list[str]:
    return list(dict.fromkeys(name for one in heldout.values() for name in one))


def _measured(heldout: dict[int, Any], text: str, key: str) -> list[tuple[float, float]]:
    return [(step, one[text][key]) for step, one in heldout.items() if one.get(text, {}).get(key) is not None]


def _curve(label: str, curve: list[tuple[float, float]]) -> Rows:
    """The points of a curve, or the means of 150 stretches as equal as can be, the first ones longer."""
    if len(curve) > POINTS:
        size, longer = divmod(len(curve), POINTS)
        ends = [(i + 1) * size + min(i + 1, longer) for i in range(POINTS)]
        stretches = [curve[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        curve = [(_mean(step for step, _ in part), _mean(value for _, value in part)) for part in stretches]
    return {(label, f"{step:.6f}"): {"step": step, "value": value} for step, value in curve}


def _mean(values: Any) -> float:
    known = list(values)
    return math.fsum(known) / len(known)


def forgetting(run_dir: Path) -> set[str]:
    """The numbers of the sentences on what became of held-out perplexity."""
    _, heldout = read_metrics(run_dir / "train" / "pretrain" / "metrics.jsonl")
    numbers = set()
    for text in _texts(heldout):
        first, *_, last = [value for _, value in _measured(heldout, text, "perplexity")] or [1.0, 1.0]
        numbers |= {f"{first:.2f}", f"{last:.2f}", f"{100 * abs(last / first - 1):.1f}"}
    return numbers
