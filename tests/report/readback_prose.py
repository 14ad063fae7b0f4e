"""Numbers of the page outside its tables: the verdict, the sentences of each part, figures' words, the browser's data.

What has been recognised and found true is taken out of a sentence; a digit that is left is a number nobody recomputed.
"""

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from report import readback as tables
from report import recompute_run
from report.recompute import detectable, detectable_over_seeds, shares, within

NUMBER = re.compile(r"[+−]?\d[\d\u202f]*(?:\.\d+)?")
EFFECT = re.compile(
    r"(?P<task>\S+) (?P<delta>[+−]?\d+\.\d) points \(95 % interval (?P<interval>\S+ to \S+); (?P<p>p [<=] [\d.]+)"
)
NULL = re.compile(
    r"largest difference is (?P<delta>[+−]?\d+\.\d) points on (?P<task>\S+) "
    r"\(95 % interval (?P<interval>\S+ to \S+); smallest Holm (?P<p>p [<=] [\d.]+)\)"
    r"(?:; with (?P<n>[\d\u202f]+) questions a true difference under (?P<seen>[\d.]+) points|"
    r", and (?P<few>[\d\u202f]+) questions)"
)
EXCLUDED = re.compile(r", and one of (?P<margin>[\d.]+) points or more is excluded on every task")


def prose_mismatches(page: Any, run_dir: Path, truth: dict[str, Any]) -> list[str]:
    """Every number of the page's prose that is not the one recomputed."""
    regime = page.xpath("string(//*[@id='verdict']//strong)")
    pair = next(iter(truth["summary"]), ("base", "adapted"))[:2]
    rows = {key[3]: row for key, row in truth["summary"].items() if key[:3] == (*pair, regime)}
    verdict = [*_sentence(page, rows, truth, (*pair, regime)), *_strip(page, rows, pair)]
    wrong = [*verdict, *_caveats(page, run_dir, rows, truth)]
    allowed = _numbers_of_sections(run_dir, truth)
    allowed["questions"] |= {tables.whole(len(data["questions"])) for data in _data(page)}
    for section, numbers in allowed.items():
        for text in page.xpath(f"//section[@id='{section}']/p/text()"):
            wrong += [f"{section}: {one!r} in {text!r}" for one in _unknown(text, numbers)]
    return [*wrong, *_figures(page, truth), *_browser(page, run_dir)]


def _unknown(text: str, known: Iterable[str]) -> list[str]:
    allowed = set(known)
    return [one for one in NUMBER.findall(text) if one not in allowed]


def _sentence(page: Any, rows: dict[str, Any], truth: dict[str, Any], about: tuple[str, str, str]) -> list[str]:
    """The verdict: every effect that it names, how many tasks it is about, and what it could not have seen."""
    text, wrong = page.xpath("string(//p[@class='sentence'])"), []
    for found in EFFECT.finditer(text):
        wrong += _effect(found, rows, tables.p_text(rows[found["task"]]["holm_p"]))
    for found in NULL.finditer(text):
        row = rows[found["task"]]
        wrong += _effect(found, rows, tables.p_text(min(one["holm_p"] for one in rows.values())))
        alpha = 0.05 / len(rows)
        pairs = [one for key, one in truth["comparisons"].items() if key[:4] == (*about, found["task"])]
        differing = sum(one["b"] + one["c"] for one in pairs) / sum(one["n"] for one in pairs)
        seen = detectable(row["n"], differing, alpha)
        if row["seeds"] > 1:
            seen = detectable_over_seeds(row["se"], row["df"], alpha)
        asked, least = found["n"] or found["few"], f"{math.ceil(1000 * seen - 1e-6) / 10:g}" if seen <= 1 else None
        if (asked, found["seen"]) != (tables.whole(row["n"]), least):
            wrong.append(f"verdict: {found[0]!r}, recomputed {row['n']} and {seen}")
    said = EXCLUDED.search(text)
    margin = float(said["margin"]) / 100 if said else 0.02
    if bool(NULL.search(text) and all(within(row, margin, 0.05 / len(rows)) for row in rows.values())) != bool(said):
        wrong.append(f"verdict: {text!r} excludes, or does not, what was recomputed otherwise")
    rest = EXCLUDED.sub("", NULL.sub("", EFFECT.sub("", text)))
    return wrong + [f"verdict: {one!r} in {rest!r}" for one in _unknown(rest, map(str, range(len(rows) + 1)))]


def _effect(found: re.Match[str], rows: dict[str, Any], p: str) -> list[str]:
    row = rows[found["task"]]
    near = tables.interval_close(found["interval"], row["ci95"], tables.SHOWN_TO)
    right = found["delta"] == tables.points(row["delta_mean"]) and found["p"] == p and near
    return [] if right else [f"verdict: {found[0]!r}, recomputed {row['delta_mean']}, {row['ci95']}, {p}"]


def _strip(page: Any, rows: dict[str, Any], pair: tuple[str, str]) -> list[str]:
    wrong = []
    for block in page.xpath("//dl[@class='strip']/div"):
        row = rows[block.findtext("dt")]
        change, accuracies, interval, asked = (node.text for node in block.findall("dd"))
        near = tables.interval_close(interval.removeprefix("95 % interval "), row["ci95"], tables.SHOWN_TO)
        means = f"{tables.percent(row['first_mean'])} {pair[0]} → {tables.percent(row['second_mean'])} {pair[1]}"
        counts = [tables.whole(row["n"]), str(row["seeds"])]
        if (change, accuracies, NUMBER.findall(asked)) != (tables.points(row["delta_mean"]), means, counts) or not near:
            wrong.append(f"verdict {block.findtext('dt')}: {block.text_content().split()}")
    return wrong


def _caveats(page: Any, run_dir: Path, rows: dict[str, Any], truth: dict[str, Any]) -> list[str]:
    """Under the verdict: constant answers, perplexity before and after, effects out of domain, shares parsed."""
    known = {f"{100 * max(one['majority'], one['chance'] or 0):.1f}" for one in truth["baselines"].values()}
    known |= {"95", *recompute_run.forgetting(run_dir)}
    rates: dict[tuple[Any, ...], list[float]] = {}
    for key, row in truth["rows"].items():
        rates.setdefault(key[:3], []).append(row["parse_rate"])
    known |= {f"{100 * sum(shares) / len(shares):.1f}" for shares in rates.values()}
    wrong = []
    for text in page.xpath("//p[@class='caveat']/text()"):
        for found in EFFECT.finditer(text):
            wrong += _effect(found, rows, tables.p_text(rows[found["task"]]["holm_p"]))
        wrong += [f"verdict: {one!r} in {text!r}" for one in _unknown(EFFECT.sub("", text), known)]
    return wrong


def _numbers_of_sections(run_dir: Path, truth: dict[str, Any]) -> dict[str, set[str]]:
    """The numbers that may stand in the sentences of each part."""
    corpus: set[str] = set()
    for name in ("corpus", "general"):
        if (run_dir / name / "corpus.json").is_file():
            totals = json.loads((run_dir / name / "corpus.json").read_text())
            store = run_dir / "tokens" / name / "store.json"
            tokens = json.loads(store.read_text())["tokens"] if store.is_file() else 0
            years = [key[0] for key in truth["tables"][f"years-{name}"][1]]
            corpus |= {tables.whole(totals["kept"]), tables.whole(totals["in"]), *years}
            corpus |= {_short(totals["chars"]), _short(tokens)}
    found: dict[str, int] = {}
    for (text, _), one in truth["tables"].get("contamination", ((), {}))[1].items():
        found[text] = found.get(text, 0) + one["questions_hit"]
    asked = pq.read_table(run_dir / "questions.parquet").num_rows if (run_dir / "questions.parquet").is_file() else 0
    return {
        "corpus": corpus,
        "contamination": {tables.whole(hit) for hit in found.values()},
        "training": recompute_run.forgetting(run_dir),
        "questions": {tables.whole(asked)},
    }


def _short(number: float) -> str:
    """The figures of a number to three places, without its unit."""
    power = next((power for power in (12, 9, 6, 3) if abs(number) >= 10**power), 0)
    return f"{number / 10**power:.3g}"


def _figures(page: Any, truth: dict[str, Any]) -> list[str]:
    """The words that describe each figure: their numbers stand in its table, or count its rows."""
    wrong = []
    for figure in page.xpath("//figure"):
        name = figure.get("id").removeprefix("figure-")
        texts = [cell.text or "" for cell in figure.xpath(".//tbody//*[@data-column]")]
        known = {one for text in texts for one in NUMBER.findall(text)}
        rows = truth["tables"].get(name, ((), {}))[1]
        known |= {f"{row['value']:.2f}" for row in rows.values() if "value" in row}
        known |= {str(number) for number in range(len(texts))} if name.startswith("forest-") else set()
        label = figure.xpath("string(.//*[local-name()='svg']/@aria-label)")
        wrong += [f"words of {name}: {one!r} in {label!r}" for one in _unknown(label, known | _named(name, label))]
    return wrong


def _named(name: str, label: str) -> set[str]:
    """Digits that are part of a task's or regime's name."""
    return {one for word in label.split() if word.strip(",:;") in name for one in NUMBER.findall(word)}


def _browser(page: Any, run_dir: Path) -> list[str]:
    """Every prompt, option, right answer, choice and probability of the question browser."""
    return [fault for data in _data(page) for fault in _wrong_answers(data, run_dir)]


def _data(page: Any) -> list[Any]:
    """The browser's data, if the page has a browser."""
    return [json.loads(text) for text in page.xpath("//script[@id='data']/text()")]


def _wrong_answers(data: Any, run_dir: Path) -> list[str]:
    wrong = []
    answers = {
        (one["regime"], one["seed"], one["model"], one["task"], one["question_id"]): one
        for one in pq.read_table(run_dir / "predictions.parquet").to_pylist()
    }
    asked = {(one["task"], one["question_id"]): one for one in pq.read_table(run_dir / "questions.parquet").to_pylist()}
    for one in data["questions"]:
        task, question = data["tasks"][one["t"]], one["id"]
        true = asked[task, question]
        if (one["p"], one["o"], one["g"], one["s"]) != tuple(
            true[name] for name in ("prompt", "options", "gold", "subject")
        ):
            wrong.append(f"browser {task} {question}: {one['p']!r}")
        for (regime, seed), pair in zip(data["runs"], one["a"], strict=True):
            for model, answer in zip(data["models"], pair, strict=True):
                if not _same_answer(answer, answers.get((regime, seed, model, task, question))):
                    wrong.append(f"browser {task} {question} {regime} {seed} {model}: {answer}")
    return wrong


def _same_answer(shown: list[Any] | None, true: dict[str, Any] | None) -> bool:
    if shown is None or true is None:
        return shown is None and true is None
    chances = [1000 * one for one in shares(true["option_logprobs"] or [])]
    near = all(abs(one - chance) <= 0.5 + 1e-9 for one, chance in zip(shown[1], chances, strict=True))
    return shown[0] == true["chosen"] and near and (shown[2:] or [None])[0] == (true["parsed"] or None)
