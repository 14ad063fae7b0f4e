"""An independent reading of predictions.parquet: every number of the report from first principles, none of our code."""

import math
import random
from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pyarrow.parquet as pq
from scipy.stats import t as student

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


def score(n: int, b: int, c: int, difference: float) -> float:
    """Tango's statistic; the share of "only the first" is where the likelihood's slope is 0, found by halving."""
    low, high = max(0.0, -difference), (1 - difference) / 2
    for _ in range(60):
        q = (low + high) / 2
        rest = n - b - c
        slope = (b and b / q) + (c and c / (q + difference)) - (rest and 2 * rest / (1 - 2 * q - difference))
        low, high = (q, high) if slope > 0 else (low, q)
    return (c - b - n * difference) / math.sqrt(n * (2 * low + difference - difference**2) or 1e-300)


def tango(n: int, b: int, c: int) -> tuple[float, float]:
    """The differences that the score test does not reject, and 0 where the exact test does not."""
    ends = []
    for limit in (Z, -Z):
        low, high = -1.0, 1.0
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if score(n, b, c, middle) > limit else (low, middle)
        ends.append(low)
    kept = mcnemar(b, c) >= 0.05
    return (min(ends[0], 0.0), max(ends[1], 0.0)) if kept else (ends[0], ends[1])


def over_seeds(first: list[list[int]], second: list[list[int]]) -> dict[str, Any]:
    """Interval and p of the difference, from correctness by seed and question: sums of squares, one at a time."""
    seeds, n = len(first), len(first[0])
    d = [sum(s[i] for s in second) / seeds - sum(s[i] for s in first) / seeds for i in range(n)]
    centre = math.fsum(d) / n
    squares = sum((one - centre) ** 2 for one in d) * n / max(n - 1, 1)
    parts = [((squares + 2) / n**2, (squares + 2) / n**2, max(n - 1, 1))]
    for table in (first, second) if seeds > 1 else ():
        by_seed = [sum(row) / n for row in table]
        by_question = [sum(row[i] for row in table) / seeds for i in range(n)]
        mean = sum(by_seed) / seeds
        whole = sum((one - mean) ** 2 for one in by_seed) / (seeds - 1) / seeds
        left = sum((table[s][i] - by_seed[s] - by_question[i] + mean) ** 2 for s in range(seeds) for i in range(n))
        parts.append((max(0.0, whole - left / (seeds - 1) / max(n - 1, 1) / n / seeds), whole, seeds - 1))
    variance = sum(net for net, _, _ in parts)
    df, se = variance**2 / sum(whole**2 / free for _, whole, free in parts), math.sqrt(variance)
    if seeds == 1:
        b, c = d.count(-1), d.count(1)
        return {"ci95": tango(n, b, c), "p": mcnemar(b, c), "se": se, "df": df, "unit": "models"}
    half = float(student.isf(0.025, df)) * se
    p = 2 * float(student.cdf(-abs(centre) / se, df))
    return {"ci95": (max(-1, centre - half), min(1, centre + half)), "p": p, "se": se, "df": df, "unit": "tuning"}


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


def confidences(answers: list[dict[str, Any]]) -> list[tuple[float, bool]]:
    """Confidence and whether it was right, of answers by likelihood; an unparsed one was sure and wrong."""
    found = [(shares(one["option_logprobs"])[one["chosen"]], one["chosen"] == one["gold"]) for one in likely(answers)]
    return found + [(1.0, False) for one in answers if one["chosen"] < 0]


def ece(answers: list[tuple[float, bool]]) -> float:
    """Distance of accuracy from confidence in 15 equally wide bins, weighted by their answers."""
    bins = defaultdict(float)
    for confidence, right in answers:
        bins[math.ceil(confidence * 15)] += confidence - right
    return sum(map(abs, bins.values())) / len(answers)


def brier(answers: list[dict[str, Any]]) -> float:
    """Mean squared distance of the probabilities from the right answer; 2 for an unparsed one."""
    distances = [
        sum((p - (i == one["gold"])) ** 2 for i, p in enumerate(shares(one["option_logprobs"])))
        for one in likely(answers)
    ]
    unparsed = sum(one["chosen"] < 0 for one in answers)
    return (sum(distances) + 2 * unparsed) / (len(distances) + unparsed)


def bootstrap(of: Callable[[list[Any]], float], answers: list[Any], draws: int = 300) -> tuple[float, float]:
    """Percentile interval, answers drawn with replacement; another generator, so equal only roughly."""
    rng = random.Random(7)
    found = sorted(of(rng.choices(answers, k=len(answers))) for _ in range(draws))
    return found[round(0.025 * draws)], found[round(0.975 * draws) - 1]


def calibration(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """ECE with its mirrored interval and what it would be if each probability were right, and Brier's score."""
    if not likely(answers):
        return {"ece": None, "brier": None, "ece_ci95": None, "ece_floor": None}
    stated, rng = confidences(answers), random.Random(8)
    found = ece(stated)
    low, high = bootstrap(ece, stated)
    perfect = [ece([(one, rng.random() < one) for one, _ in stated]) for _ in range(200)]
    return {
        "ece": found,
        "brier": brier(answers),
        "ece_ci95": (max(0.0, 2 * found - high), max(0.0, 2 * found - low)),
        "ece_floor": sum(perfect) / len(perfect),
    }


def pairs_of(cells: Cells) -> list[tuple[str, str]]:
    """Base against adapted, then every other model against adapted."""
    names = sorted({key[2] for key in cells}, key=lambda name: (name != "base", name))
    return [(name, "adapted") for name in names if name != "adapted"]


def recompute(
    predictions: Path, contaminated: dict[str, set[str]] | None = None
) -> dict[str, dict[tuple[Any, ...], Any]]:
    """The parts of results.json, each by the key of its rows; comparisons as a run makes them that names none."""
    cells, clean = by_cell(predictions), defaultdict(dict)
    pairs = pairs_of(cells)
    for (regime, task, model, seed), answers in cells.items():
        for key, one in answers.items():
            if contaminated and key not in contaminated.get(task, ()):
                clean[regime, task, model, seed][key] = one
    return {
        "rows": {key: _row(list(answers.values())) for key, answers in cells.items()},
        "means": _means(cells),
        "comparisons": _comparisons(cells, pairs),
        "summary": _summary(cells, pairs),
        "uncontaminated": {key: row for key, row in _summary(clean, pairs).items() if key[3] in (contaminated or ())},
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


def detectable(n: int, discordant: float, alpha: float) -> float:
    """The smallest difference that a paired test of this level finds in four of five tries, by stepping up to it."""
    z = NormalDist().inv_cdf(1 - alpha / 2)
    for step in range(1, 100_001) if discordant else ():
        difference = discordant * step / 100_000
        spread = math.sqrt(max(0.0, discordant - difference**2))
        if difference * math.sqrt(n) >= z * math.sqrt(discordant) + 0.8416212335729143 * spread:
            return difference
    return math.inf


def detectable_over_seeds(se: float, df: float, alpha: float) -> float:
    """The same of a t test."""
    return float(student.isf(alpha / 2, df) + student.isf(0.2, df)) * se


def within(row: dict[str, Any], margin: float, alpha: float) -> bool:
    """Whether both one-sided t tests exclude differences of the margin or more."""
    return all(
        float(student.cdf((side * row["delta_mean"] - margin) / row["se"], row["df"])) < alpha for side in (1, -1)
    )


def _row(answers: list[dict[str, Any]]) -> dict[str, Any]:
    n, correct = len(answers), sum(one["chosen"] == one["gold"] for one in answers)
    parsed = sum(one["chosen"] >= 0 for one in answers)
    return {
        "n": n,
        "correct": correct,
        "accuracy": correct / n,
        "ci95": wilson(correct, n),
        "macro_f1": macro_f1(answers),
        "macro_f1_ci95": bootstrap(macro_f1, answers),
        **calibration(answers),
        "parse_rate": parsed / n,
        "truncated": sum(one["truncated"] for one in answers),
    }


def _right(answers: dict[str, dict[str, Any]]) -> dict[str, int]:
    return {key: int(one["chosen"] == one["gold"]) for key, one in answers.items()}


def _means(cells: Any) -> dict[tuple[Any, ...], dict[str, Any]]:
    rows = {}
    for regime, task, model in dict.fromkeys(key[:3] for key in cells):
        seeds = [sum(_right(cells[key]).values()) for key in cells if key[:3] == (regime, task, model)]
        n, right = len(next(cells[key] for key in cells if key[:3] == (regime, task, model))), sum(seeds) / len(seeds)
        rows[model, regime, task] = {"n": n, "seeds": len(seeds), "mean": right / n, "ci95": wilson(right, n)}
    return rows


def _comparisons(cells: Any, pairs: list[tuple[str, str]]) -> dict[tuple[Any, ...], dict[str, Any]]:
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for first, second in pairs:
        for regime, task, model, seed in cells:
            if model != first or (regime, task, second, seed) not in cells:
                continue
            one, two = (_right(cells[regime, task, name, seed]) for name in (first, second))
            b = sum(one[key] > two[key] for key in one)
            c = sum(one[key] < two[key] for key in one)
            n = len(one)
            row = {"n": n, "b": b, "c": c, "delta": (c - b) / n, "ci95": tango(n, b, c), "mcnemar_p": mcnemar(b, c)}
            found[first, second, regime, task, seed] = row
    _with_holm(found, "mcnemar_p", lambda key: (key[0], key[1], key[2], key[4]))
    return found


def _with_holm(found: dict[tuple[Any, ...], dict[str, Any]], p: str, family: Any) -> None:
    for name in {family(key) for key in found}:
        members = [key for key in found if family(key) == name]
        for key, adjusted in zip(members, holm([found[key][p] for key in members]), strict=True):
            found[key]["holm_p"] = adjusted


def _summary(cells: Any, pairs: list[tuple[str, str]]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """By (first, second) and the first two keys of the cells, of which the first is the family."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for pair in pairs:
        for regime, task in dict.fromkeys(key[:2] for key in cells):
            seeds = sorted(
                {key[3] for key in cells if key[:2] == (regime, task)}
                & {key[3] for key in cells if key[:3] == (regime, task, pair[0])}
                & {key[3] for key in cells if key[:3] == (regime, task, pair[1])}
            )
            if seeds:
                found[(*pair, regime, task)] = _over_seeds(
                    *([_right(cells[regime, task, name, seed]) for seed in seeds] for name in pair)
                )
    _with_holm(found, "p", lambda key: key[:3])
    return found


def _over_seeds(first: list[dict[str, int]], second: list[dict[str, int]]) -> dict[str, Any]:
    questions, seeds = list(first[0]), len(first)
    totals = [sum(sum(one.values()) for one in right) for right in (first, second)]
    means = [total / seeds / len(questions) for total in totals]
    tables = [[[one[key] for key in questions] for one in right] for right in (first, second)]
    deltas = [sum(b.values()) - sum(a.values()) for a, b in zip(first, second, strict=True)]
    centre = sum(deltas) / seeds
    spread = sum((one - centre) ** 2 for one in deltas) / (seeds - 1) if seeds > 1 else None
    return {
        "n": len(questions),
        "seeds": seeds,
        "first_mean": means[0],
        "second_mean": means[1],
        "first_ci95": wilson(totals[0] / seeds, len(questions)),
        "second_ci95": wilson(totals[1] / seeds, len(questions)),
        "delta_mean": means[1] - means[0],
        "delta_sd": None if spread is None else math.sqrt(spread) / len(questions),
        **over_seeds(*tables),
    }


def by_subject(run_dir: Path, regime: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The summary of one regime within each (task, subject) of tasks with several, Holm over the subjects of a task.

    By the two models, task and subject.
    """
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
    return _summary(cells, pairs_of(cells))  # the cells' first two keys are family and member, here task and subject


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
