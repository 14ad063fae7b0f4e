"""Compares results.json and every number of the page with what `recompute.py` and `recompute_run.py` find on disk.

`python tests/report/readback.py RUN_DIR` does it for any run. A number that nobody recomputed is a mismatch too.
"""

import copy
import hashlib
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lxml import html

sys.path.append(str(Path(__file__).parents[1]))  # when run as a script
from report import recompute_run
from report.published_truth import published
from report.recompute import by_cell, by_subject, recompute, reliability

RESULTS = {
    "rows": ("regime", "task", "model", "seed"),
    "means": ("model", "regime", "task"),
    "comparisons": ("first", "second", "regime", "task", "seed"),
    "summary": ("first", "second", "regime", "task"),
    "uncontaminated": ("first", "second", "regime", "task"),
    "baselines": ("task",),
}
TABLES = {
    "cells": "rows",
    "differences": "comparisons",
    "baselines": "baselines",
    "uncontaminated": "uncontaminated",
}
DRAWN = ("macro_f1_ci95", "ece_ci95", "ece_floor")
Truth = dict[str, Any]
_KNOWN: dict[str, Truth] = {}


SHOWN_TO = 0.0005001
"""How far a share shown with one digit of percent may lie from itself."""


def drawn_tolerance(n: int) -> float:
    """How far two measures that are drawn from n answers may lie apart: a step of 1/n and the luck of the draws."""
    return 1.5 / n + 0.02


def mismatches(run_dir: Path) -> list[str]:
    """Every number in results.json and report.html that is not the one recomputed from what the run left on disk."""
    from report.readback_prose import prose_mismatches  # which uses this file

    page = html.parse(str(run_dir / "report.html"))
    truth = recomputed(run_dir, page)
    results = json.loads((run_dir / "results.json").read_text())
    return [*_in_results(results, truth), *in_tables(page, truth), *prose_mismatches(page, run_dir, truth)]


def recomputed(run_dir: Path, page: Any) -> Truth:
    """The parts of results.json, and under `tables` what names the rows of each table of the page, and its rows."""
    truth: Truth = _recomputed_results(run_dir)
    regime = page.xpath("string(//*[@id='verdict']//strong)")
    tables = {name: (RESULTS[part], _texts(truth[part])) for name, part in TABLES.items()}
    subjects = by_subject(run_dir, regime) if page.xpath("//*[@id='table-subjects']") else {}
    tables["subjects"] = (("first", "second", "task", "subject"), subjects)
    tables["paper"] = (("regime", "model"), _paper(truth))
    for first, second in dict.fromkeys(key[:2] for key in truth["summary"]):
        mine = {key[2:]: row for key, row in truth["summary"].items() if key[:2] == (first, second)}
        tables[f"forest-{first}-{second}"] = (("regime", "task"), mine)
    tables["published"] = (("method", "pair", "model"), published())
    for key, row in tables["uncontaminated"][1].items():
        of_all = truth["summary"][key]
        row |= {f"{name}_detail": percent(of_all[name]) for name in ("first_mean", "second_mean")}
    cells = by_cell(run_dir / "predictions.parquet")
    for name in page.xpath("//table/@data-table"):
        if name.startswith("reliability-"):
            tables[name] = (("model", "low"), reliability(cells, regime, name.removeprefix("reliability-")))
        if name.startswith("efficiency-"):
            tables[name] = (("regime",), _efficiency(run_dir, truth["means"], name.split("-", 2)[2]))
    return truth | {"tables": tables | recompute_run.tables(run_dir)}


def _recomputed_results(run_dir: Path) -> Truth:
    """The parts of results.json; the same answers are recomputed once, however many pages are held against them."""
    predictions, contaminated = run_dir / "predictions.parquet", _contaminated(run_dir)
    answers = hashlib.sha256(predictions.read_bytes() + repr(sorted(contaminated.items())).encode()).hexdigest()
    if answers not in _KNOWN:
        _KNOWN[answers] = recompute(predictions, contaminated)
    return copy.deepcopy(_KNOWN[answers])


def _contaminated(run_dir: Path) -> dict[str, set[str]]:
    file = run_dir / "contamination" / "contamination.json"
    found: dict[str, set[str]] = {}
    for text in json.loads(file.read_text())["texts"].values() if file.is_file() else ():
        for task, one in text["tasks"].items():
            found.setdefault(task, set()).update(one["question_ids"])
    return {task: ids for task, ids in found.items() if ids}


def _texts(rows: dict[tuple[Any, ...], Any]) -> dict[tuple[str, ...], Any]:
    return {tuple(map(str, key)): dict(row) for key, row in rows.items()}


def _paper(truth: Truth) -> dict[tuple[str, str], dict[str, Any]]:
    """Accuracies and differences by column, which is a task or a task with its protocol; constant answers beneath."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for (model, regime, task), one in truth["means"].items():
        rows.setdefault((regime, model), {})[task] = one | {"is": "mean"}
    for (first, second, regime, task), one in truth["summary"].items():
        rows.setdefault((regime, f"{second} − {first}"), {})[task] = one | {"is": "delta_mean"}
    for (task,), one in truth["baselines"].items():
        for label, name in (("majority label", "majority"), ("always the first option", "always_first")):
            rows.setdefault(("no model", label), {})[task] = one | {"is": name}
    return rows


def _efficiency(run_dir: Path, means: Any, task: str) -> dict[tuple[str], dict[str, Any]]:
    import yaml

    regimes = yaml.safe_load((run_dir / "recipe.yaml").read_text())["regimes"]
    rows: dict[tuple[str], dict[str, Any]] = {}
    for (model, regime, of_task), one in means.items():
        if of_task == task:
            row = rows.setdefault((regime,), {"share": regimes[regime].get("fraction", 1.0), "n": one["n"]})
            row |= {model: one["mean"], f"{model}_ci95": one["ci95"]}
    return rows


def _in_results(results: dict[str, list[dict[str, Any]]], truth: Truth) -> list[str]:
    wrong = []
    for part, names in RESULTS.items():
        found = {tuple(row[name] for name in names): row for row in results[part]}
        if set(found) != set(truth[part]):
            wrong.append(f"results.json {part}: {sorted(set(found) ^ set(truth[part]))} on one side only")
        for key in set(found) & set(truth[part]):
            drawn = drawn_tolerance(truth[part][key]["n"])
            for name, value in truth[part][key].items():
                about = drawn if name in DRAWN else 1e-7 if name == "ci95" else 1e-9
                if not close(found[key][name], value, about):
                    wrong.append(f"results.json {part} {key} {name}: {found[key][name]}, recomputed {value}")
    return wrong


def close(found: Any, value: Any, tolerance: float = 1e-9) -> bool:
    """Whether a value read is the one recomputed."""
    if isinstance(value, tuple):
        return all(close(one, other, tolerance) for one, other in zip(found, value, strict=True))
    if value is None or isinstance(value, str):
        return bool(found == value)
    return math.isclose(found, value, rel_tol=tolerance, abs_tol=tolerance)


def in_tables(page: Any, truth: Truth) -> list[str]:
    """Numbers of the page's tables: the raw value a cell carries, the text it shows, and what stands beneath."""
    wrong = []
    for table in page.xpath("//table[@data-table]"):
        name = table.get("data-table")
        keys, rows = truth["tables"].get(name, ((), {}))
        shown = table.xpath("./tbody/tr[not(@class='group')]")
        counted = [row for row in shown if any(map(_number, row.xpath("./*[@data-column]")))]
        if len({_row_key(row, keys) for row in counted}) != len(counted):
            wrong.append(f"{name}: two rows are about the same")
        for row in counted:
            key = _row_key(row, keys)
            about = dict(zip(keys, key, strict=True))
            for cell in filter(_number, row.xpath("./*[@data-column]")):
                true = about | rows[key] if key in rows else None
                faults = _cell_faults(cell, *_true_value(name, true, cell.get("data-column")))
                wrong += [f"{name} {key} {cell.get('data-column')}: {fault}" for fault in faults]
        if keys and len(counted) < len(rows) and not name.startswith(("sections-", "efficiency-", "published")):
            wrong.append(f"{name}: {len(counted)} rows, recomputed {len(rows)}")
    return wrong


def _number(cell: Any) -> bool:
    """Whether a cell holds a number."""
    return "number" in (cell.get("class") or "").split() and cell.get("data-value") != ""


def _row_key(row: Any, names: tuple[str, ...]) -> tuple[str, ...]:
    """What a row is about: the attributes it carries, else its cells' values; numbers with six digits."""
    found = []
    for name in names:
        attribute = row.get(f"data-{name}")
        value = attribute if attribute is not None else row.xpath(f"string(./*[@data-column='{name}']/@data-value)")
        if not attribute and not value and row.xpath("preceding-sibling::tr[@class='group']"):
            value = row.xpath("preceding-sibling::tr[@class='group']")[-1].xpath("string(./th/text())")
        found.append(f"{float(value):.6f}" if name in ("step", "low") and _is_float(value) else value)
    return tuple(found)


def _is_float(text: str) -> bool:
    return re.fullmatch(r"[\d.e+-]+", text) is not None


def _true_value(table: str, row: dict[str, Any] | None, column: str) -> tuple[str, dict[str, Any] | None]:
    """The name of what a cell shows, and the recomputed values that it is among; None if there are none."""
    if table in ("paper", "published") and row is not None:
        one = row.get(column if table == "published" else column.split("/", maxsplit=1)[0])
        return (one["is"], one) if one else (column, None)
    if table.startswith("efficiency-") and row is not None and f"{column}_ci95" in row:  # a column a model
        return "mean", row | {"mean": row[column], "ci95": row[f"{column}_ci95"]}
    return column, row if row is not None and column in row else None


def _cell_faults(cell: Any, name: str, true: dict[str, Any] | None) -> list[str]:
    if true is None:
        return [f"shows {cell.text!r}, which nobody recomputed"]
    value, faults, text = true[name], [], cell.text or ""
    if name == "ci95":
        near = interval_close(text, value, SHOWN_TO)
        return [] if near else [f"shows {text!r}, recomputed {value}"]
    if not close(_read(cell.get("data-value"), value), value):
        faults.append(f"carries {cell.get('data-value')}, recomputed {value}")
    if text not in {shown(name, one) for one in (value, *_beside(value))}:
        faults.append(f"shows {text!r}, should be {shown(name, value)!r}")
    detail = cell.findtext("small")
    return faults + (_detail_faults(detail, name, true) if detail else [])


def _beside(value: Any) -> tuple[float, ...]:
    """A value of which half a unit of the last shown digit is left may have been summed in another order."""
    return (value - 1e-12, value + 1e-12) if isinstance(value, float) else ()


def _detail_faults(detail: str, name: str, true: dict[str, Any]) -> list[str]:
    """What stands beneath a number: its interval, p, counts, or the number for all questions."""
    if f"{name}_detail" in true:
        return [] if detail == true[f"{name}_detail"] else [f"beneath {detail!r}, should be {true[f'{name}_detail']!r}"]
    first, *rest = detail.split("\n")
    if f"{name}_correct" in true:
        right = f"{whole(true[f'{name}_correct'])} / {whole(true['n'])}"
        return [] if detail == right else [f"beneath {detail!r}, should be {right!r}"]
    if f"{name}_ci95" in true and name in ("macro_f1", "ece"):
        return _drawn_faults(detail, name, true)
    interval = true.get(name.removesuffix("_mean") + "_ci95", true.get("ci95"))
    faults = [] if interval_close(first, interval, SHOWN_TO) else [f"interval {first!r}, recomputed {interval}"]
    return faults + [f"beneath {one!r}, recomputed {true['holm_p']}" for one in rest if one != p_text(true["holm_p"])]


def _drawn_faults(detail: str, name: str, true: dict[str, Any]) -> list[str]:
    """Beneath macro-F1 and ECE: the ends of an interval, and the ECE of perfect probabilities, drawn anew."""
    values = [*true[f"{name}_ci95"], *([true["ece_floor"]] if name == "ece" else [])]
    found = [float(one) for one in re.findall(r"\d+\.\d+", detail)]
    near = len(found) == len(values) and all(
        abs(one - value) <= drawn_tolerance(true["n"]) for one, value in zip(found, values, strict=True)
    )
    return [] if near else [f"beneath {detail!r}, recomputed {values}"]


def _read(text: str, like: Any) -> Any:
    return text if isinstance(like, str) else float(text)


def interval_close(text: str, value: tuple[float, float], tolerance: float) -> bool:
    """Whether an interval read is the one recomputed."""
    try:
        ends = [float(one.replace("−", "-")) / 100 for one in text.split(" to ")]
    except ValueError:
        return False
    return len(ends) == 2 and all(abs(end - true) <= tolerance for end, true in zip(ends, value, strict=True))


def shown(name: str, value: Any) -> str:
    """A value as the page should word it."""
    if isinstance(value, str):
        return value
    return next((show(value) for names, show in SHOWN.items() if name in names.split()), whole(value))


def whole(number: float) -> str:
    """A count."""
    return f"{number:,.0f}".replace(",", "\u202f").replace("-", "−")


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def p_text(p: float) -> str:
    """A p value in running text."""
    return f"p {_p(p)}" if p < 0.001 else f"p = {_p(p)}"


def percent(share: float) -> str:
    """A share."""
    return f"{100 * share:.1f} %"


def points(difference: float) -> str:
    """A difference of shares."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


SHOWN: dict[str, Callable[[float], str]] = {
    "accuracy parse_rate majority always_first chance mean first_mean second_mean": percent,
    "share low confidence": percent,
    "published_accuracy": lambda share: f"{100 * share:.2f} %",
    "delta delta_mean": points,
    "delta_sd": lambda size: points(size).lstrip("+"),
    "macro_f1 ece brier value": "{:.3f}".format,
    "mcnemar_p holm_p": _p,
    "year seed": str,
}


if __name__ == "__main__":
    faults = mismatches(Path(sys.argv[1]))
    print("\n".join(faults) or "every number agrees")
    sys.exit(bool(faults))
