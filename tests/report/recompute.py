"""An independent reading of predictions.parquet: every number of the report from first principles, none of our code."""

import math
import random
from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

Z = 1.959963984540054
Cells = dict[tuple[Any, ...], dict[str, dict[str, Any]]]
"""Answers by question id, by (regime, task, model, seed)."""


def wilson(k: float, n: int) -> tuple[float, float]:
    """The two shares p at which k/n lies exactly Z standard errors away, as roots of the quadratic in p."""
    a, b, c = n + Z * Z, -(2 * k + Z * Z), k * k / n
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def mcnemar(b: int, c: int) -> float:
    """Twice the smaller tail of b + c fair throws, in exact fractions."""
    tail = sum(Fraction(math.comb(b + c, i), 2 ** (b + c)) for i in range(min(b, c) + 1))
    return min(1.0, float(2 * tail))


def sign_flip(differences: list[int]) -> float:
    """Two-sided p of the sum when every non-zero difference may change its sign, by counting all sign patterns."""
    ways = {0: 1}
    for difference in filter(None, differences):
        spread: dict[int, int] = defaultdict(int)
        for total, number in ways.items():
            spread[total + difference] += number
            spread[total - difference] += number
        ways = spread
    observed = abs(sum(differences))
    extreme = sum(number for total, number in ways.items() if total >= observed)
    return min(1.0, float(Fraction(2 * extreme, sum(ways.values()))))


def holm(ps: list[float]) -> list[float]:
    """The smallest level at which step-down testing rejects each hypothesis."""
    order = sorted(range(len(ps)), key=ps.__getitem__)
    return [max(min(1.0, (len(ps) - j) * ps[order[j]]) for j in range(order.index(i) + 1)) for i in range(len(ps))]


def macro_f1(answers: list[dict[str, Any]]) -> float:
    """Mean over the labels present in gold or answer of 2tp / (2tp + fp + fn)."""
    scores = []
    for label in {one["gold"] for one in answers} | {one["chosen"] for one in answers if one["chosen"] >= 0}:
        true = sum(one["gold"] == label == one["chosen"] for one in answers)
        either = sum(one["gold"] == label for one in answers) + sum(one["chosen"] == label for one in answers)
        scores.append(2 * true / either)
    return sum(scores) / len(scores)


def shares(logprobs: list[float]) -> list[float]:
    """The options' probabilities."""
    total = sum(math.exp(one) for one in logprobs)
    return [math.exp(one) / total for one in logprobs]


def likely(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The answers that were chosen by likelihood: the others have no probability."""
    return [one for one in answers if one["chosen"] >= 0 and one["option_logprobs"]]


def ece(answers: list[dict[str, Any]]) -> float:
    """Distance of accuracy from confidence in 15 equally wide bins, weighted by their answers."""
    bins = defaultdict(list)
    parsed = likely(answers)
    for one in parsed:
        confidence = shares(one["option_logprobs"])[one["chosen"]]
        bins[math.ceil(confidence * 15)].append((confidence, one["chosen"] == one["gold"]))
    return sum(abs(sum(p for p, _ in group) - sum(ok for _, ok in group)) for group in bins.values()) / len(parsed)


def brier(answers: list[dict[str, Any]]) -> float:
    """Mean squared distance of the probabilities from the right answer."""
    parsed = likely(answers)
    distances = [
        sum((p - (i == one["gold"])) ** 2 for i, p in enumerate(shares(one["option_logprobs"]))) for one in parsed
    ]
    return sum(distances) / len(parsed)


def bootstrap(differences: list[float], draws: int = 4000) -> tuple[float, float]:
    """Percentile interval of the mean, questions drawn with replacement; another generator, so equal only roughly."""
    if not any(differences):  # nothing to draw: bounded by the share of differing questions that none of n allows
        bound = 1 - 0.025 ** (1 / len(differences))
        return -bound, bound
    rng = random.Random(7)
    means = sorted(sum(rng.choices(differences, k=len(differences))) / len(differences) for _ in range(draws))
    return means[round(0.025 * draws)], means[round(0.975 * draws) - 1]


def recompute(
    predictions: Path, contaminated: dict[str, set[str]] | None = None
) -> dict[str, dict[tuple[Any, ...], Any]]:
    """The parts of results.json, each by the key of its rows."""
    cells, clean = by_cell(predictions), defaultdict(dict)
    for (regime, task, model, seed), answers in cells.items():
        for key, one in answers.items():
            if contaminated and key not in contaminated.get(task, ()):
                clean[regime, task, model, seed][key] = one
    return {
        "rows": {key: _row(list(answers.values())) for key, answers in cells.items()},
        "comparisons": _comparisons(cells),
        "summary": _summary(cells),
        "uncontaminated": {key: row for key, row in _summary(clean).items() if key[1] in (contaminated or ())},
        "baselines": _baselines(cells),
    }


def by_cell(predictions: Path) -> Cells:
    """All answers by cell and question."""
    cells: Cells = defaultdict(dict)
    for one in pq.read_table(predictions).to_pylist():
        cells[one["regime"], one["task"], one["model"], one["seed"]][one["question_id"]] = one
    return cells


def reliability(cells: Cells, regime: str, task: str) -> dict[tuple[str, str], dict[str, float]]:
    """Ten equally wide bins of the chosen option's probability, seeds pooled, by (model, lower end)."""
    bins: dict[tuple[str, int], list[tuple[float, bool]]] = defaultdict(list)
    for (of_regime, of_task, model, _), answers in cells.items():
        for one in likely(list(answers.values())) if (of_regime, of_task) == (regime, task) else ():
            confidence = shares(one["option_logprobs"])[one["chosen"]]
            bins[model, math.ceil(confidence * 10) - 1].append((confidence, one["chosen"] == one["gold"]))
    return {
        (model, f"{place / 10:.6f}"): {
            "low": place / 10,
            "n": len(group),
            "confidence": math.fsum(p for p, _ in group) / len(group),
            "accuracy": sum(ok for _, ok in group) / len(group),
        }
        for (model, place), group in bins.items()
    }


def detectable(n: int, discordant: float) -> float:
    """The smallest difference that a paired test of level 5 % finds in four of five tries, by stepping up to it."""
    for step in range(1, 100_001):
        difference = discordant * step / 100_000
        spread = math.sqrt(max(0.0, discordant - difference**2))
        if difference * math.sqrt(n) >= Z * math.sqrt(discordant) + 0.8416212335729143 * spread:
            return difference
    return math.inf


def _row(answers: list[dict[str, Any]]) -> dict[str, Any]:
    n, correct = len(answers), sum(one["chosen"] == one["gold"] for one in answers)
    parsed = sum(one["chosen"] >= 0 for one in answers)
    return {
        "n": n,
        "correct": correct,
        "accuracy": correct / n,
        "ci95": wilson(correct, n),
        "macro_f1": macro_f1(answers),
        "ece": ece(answers) if likely(answers) else None,
        "brier": brier(answers) if likely(answers) else None,
        "parse_rate": parsed / n,
        "truncated": sum(one["truncated"] for one in answers),
    }


def _right(answers: dict[str, dict[str, Any]]) -> dict[str, int]:
    return {key: int(one["chosen"] == one["gold"]) for key, one in answers.items()}


def _comparisons(cells: Any) -> dict[tuple[Any, ...], dict[str, Any]]:
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for regime, task, model, seed in cells:
        if model == "base":
            base, adapted = (_right(cells[regime, task, name, seed]) for name in ("base", "adapted"))
            b = sum(base[key] > adapted[key] for key in base)
            c = sum(base[key] < adapted[key] for key in base)
            interval = bootstrap([adapted[key] - base[key] for key in base])
            n = len(base)
            row = {"n": n, "b": b, "c": c, "delta": (c - b) / n, "ci95": interval, "mcnemar_p": mcnemar(b, c)}
            found[regime, task, seed] = row
    for regime, seed in {(key[0], key[2]) for key in found}:
        family = [key for key in found if (key[0], key[2]) == (regime, seed)]
        for key, p in zip(family, holm([found[key]["mcnemar_p"] for key in family]), strict=True):
            found[key]["holm_p"] = p
    return found


def _summary(cells: Any) -> dict[tuple[Any, ...], dict[str, Any]]:
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for regime, task in dict.fromkeys(key[:2] for key in cells):
        seeds = sorted({key[3] for key in cells if key[:2] == (regime, task)})
        right = {name: [_right(cells[regime, task, name, seed]) for seed in seeds] for name in ("base", "adapted")}
        questions = list(right["base"][0])
        total = {name: sum(sum(one.values()) for one in right[name]) for name in right}
        means = {name: total[name] / len(seeds) / len(questions) for name in right}
        differences = [
            sum(one[key] for one in right["adapted"]) - sum(one[key] for one in right["base"]) for key in questions
        ]
        deltas = [sum(a.values()) - sum(b.values()) for a, b in zip(right["adapted"], right["base"], strict=True)]
        centre = sum(deltas) / len(deltas)
        spread = sum((one - centre) ** 2 for one in deltas) / (len(deltas) - 1) if len(deltas) > 1 else None
        found[regime, task] = {
            "n": len(questions),
            "seeds": len(seeds),
            "base_mean": means["base"],
            "adapted_mean": means["adapted"],
            "base_ci95": wilson(total["base"] / len(seeds), len(questions)),
            "adapted_ci95": wilson(total["adapted"] / len(seeds), len(questions)),
            "delta_mean": means["adapted"] - means["base"],
            "delta_sd": None if spread is None else math.sqrt(spread) / len(questions),
            "ci95": bootstrap([one / len(seeds) for one in differences]),
            "p": sign_flip(differences),
        }
    for regime in {key[0] for key in found}:
        family = [key for key in found if key[0] == regime]
        for key, p in zip(family, holm([found[key]["p"] for key in family]), strict=True):
            found[key]["holm_p"] = p
    return found


def by_subject(run_dir: Path, regime: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The summary of one regime within each (task, subject) of tasks with several, Holm over the subjects of a task."""
    subject_of = {
        (one["task"], one["question_id"]): one["subject"] or "not stated"
        for one in pq.read_table(run_dir / "questions.parquet").to_pylist()
    }
    subjects = {task: {subject for (of, _), subject in subject_of.items() if of == task} for task, _ in subject_of}
    cells: Cells = defaultdict(dict)
    for one in pq.read_table(run_dir / "predictions.parquet").to_pylist():
        if one["regime"] == regime and len(subjects[one["task"]]) > 1:
            subject = subject_of[one["task"], one["question_id"]]
            cells[one["task"], subject, one["model"], one["seed"]][one["question_id"]] = one
    return _summary(cells)  # its first two keys are the family and the member, here task and subject


def _baselines(cells: Any) -> dict[tuple[Any, ...], dict[str, Any]]:
    found = {}
    for (_, task, _, _), answers in cells.items():
        gold = [one["gold"] for one in answers.values()]
        most = max(sorted(set(gold)), key=gold.count)
        found[task,] = {
            "n": len(gold),
            "majority": gold.count(most) / len(gold),
            "majority_label": "ABCDEFGHIJ"[most],
            "always_first": gold.count(0) / len(gold),
            "majority_correct": gold.count(most),
            "always_first_correct": gold.count(0),
            "chance": sum(1 / len(one["option_logprobs"]) for one in answers.values()) / len(gold)
            if all(one["option_logprobs"] for one in answers.values())
            else None,
        }
    return found
