"""Compares results.json and each number of the page with what `recompute.py` finds in predictions.parquet.

`python tests/report/readback.py RUN_DIR` does it for any run.
"""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lxml import html

sys.path.append(str(Path(__file__).parents[1]))  # when run as a script
from report.recompute import by_subject, recompute

KEYS = {
    "rows": ("regime", "task", "model", "seed"),
    "comparisons": ("regime", "task", "seed"),
    "summary": ("regime", "task"),
    "baselines": ("task",),
}
TABLES = {"cells": "rows", "differences": "comparisons", "baselines": "baselines", "forest": "summary"}


def bootstrap_tolerance(n: int) -> float:
    """How far the ends of two bootstraps over n questions may lie apart: a step of 1/n and the luck of the draws."""
    return 1.5 / n + 0.015


def mismatches(run_dir: Path) -> list[str]:
    """Every number in results.json and report.html that is not the one recomputed from predictions.parquet."""
    truth = recompute(run_dir / "predictions.parquet")
    page = html.parse(str(run_dir / "report.html"))
    regime = page.xpath("string(//*[@id='verdict']//strong)")
    truth["subjects"] = by_subject(run_dir, regime) if page.xpath("//table[@data-table='subjects']") else {}
    return [*_in_results(json.loads((run_dir / "results.json").read_text()), truth), *_in_page(page, truth)]


def _in_results(results: dict[str, list[dict[str, Any]]], truth: dict[str, Any]) -> list[str]:
    keys = {
        "rows": "regime task model seed",
        "comparisons": "regime task seed",
        "summary": "regime task",
        "baselines": "task",
    }
    wrong = []
    for part, names in keys.items():
        found = {tuple(row[name] for name in names.split()): row for row in results[part]}
        if set(found) != set(truth[part]):
            wrong.append(f"results.json {part}: {sorted(set(found) ^ set(truth[part]))} on one side only")
        for key in set(found) & set(truth[part]):
            about = bootstrap_tolerance(truth[part][key]["n"]) if part in ("comparisons", "summary") else 1e-9
            for name, value in truth[part][key].items():
                if not _close(found[key][name], value, about if name == "ci95" else 1e-9):
                    wrong.append(f"results.json {part} {key} {name}: {found[key][name]}, recomputed {value}")
    return wrong


def _close(found: Any, value: Any, tolerance: float) -> bool:
    if isinstance(value, tuple):
        return all(_close(one, other, tolerance) for one, other in zip(found, value, strict=True))
    if value is None or isinstance(value, str):
        return bool(found == value)
    return math.isclose(found, value, rel_tol=tolerance, abs_tol=tolerance)


def _in_page(page: Any, truth: dict[str, Any]) -> list[str]:
    """Numbers of the page's tables: the raw value a cell carries, the text it shows, and the intervals beneath."""
    wrong = []
    for table, part, names in [
        *((table, part, KEYS[part]) for table, part in TABLES.items()),
        ("subjects", "subjects", ("task", "subject")),
    ]:
        rows = page.xpath(f"//table[@data-table='{table}']/tbody/tr[not(@class='group')]")
        if len(rows) != len(truth[part]):
            wrong.append(f"{table}: {len(rows)} rows, recomputed {len(truth[part])}")
        for row in rows:
            key = tuple(int(row.get(f"data-{name}")) if name == "seed" else row.get(f"data-{name}") for name in names)
            for cell in row.xpath("./*[@data-column]"):
                name = cell.get("data-column")
                if name in truth[part][key]:
                    wrong += [f"{table} {key} {name}: {fault}" for fault in _cell_faults(cell, name, truth[part][key])]
    return wrong + _in_paper_table(page, truth["summary"]) + _in_strip(page, truth["summary"])


def _in_paper_table(page: Any, summary: dict[tuple[Any, ...], dict[str, Any]]) -> list[str]:
    wrong, seen = [], 0
    fields = {"base": "base_mean", "adapted": "adapted_mean", "difference": "delta_mean"}
    for kind, name in fields.items():
        for row in page.xpath(f"//table[@data-table='paper']//tr[contains(concat(' ', @class, ' '), ' {kind} ')]"):
            for cell in row.xpath("./td[@data-value != '']"):
                seen += 1
                true = summary[row.get("data-regime"), cell.get("data-column").split("/")[0]]
                wrong += [f"paper {row.get('data-regime')} {kind}: {fault}" for fault in _cell_faults(cell, name, true)]
    return wrong if seen == 3 * len(summary) else [*wrong, f"paper: {seen} numbers, expected {3 * len(summary)}"]


def _in_strip(page: Any, summary: dict[tuple[Any, ...], dict[str, Any]]) -> list[str]:
    wrong = []
    for block in page.xpath("//dl[@class='strip']/div"):
        true = summary[block.get("data-regime"), block.findtext("dt")]
        shown = block.text_content()
        for text in (_percent(true["base_mean"]), _percent(true["adapted_mean"]), _points(true["delta_mean"])):
            if text not in shown:
                wrong.append(f"verdict {block.findtext('dt')}: {text!r} is not in {shown!r}")
    return wrong


def _cell_faults(cell: Any, name: str, true: dict[str, Any]) -> list[str]:
    value, faults = true[name], []
    text = cell.text or ""
    if name == "ci95":
        close = _interval_close(text, value, bootstrap_tolerance(true["n"]))
        return [] if close else [f"shows {text!r}, recomputed {value}"]
    if not _close(_number(cell.get("data-value"), value), value, 1e-9):
        faults.append(f"carries {cell.get('data-value')}, recomputed {value}")
    if name != "majority_label" and text != _shown(name, value):
        faults.append(f"shows {text!r}, should be {_shown(name, value)!r}")
    detail = cell.findtext("small")
    if detail and " to " in detail:
        tolerance = bootstrap_tolerance(true["n"]) if name.startswith("delta") else 0.0005001
        interval = true.get(name.removesuffix("_mean") + "_ci95", true["ci95"])
        if not _interval_close(detail.split("\n")[0], interval, tolerance):
            faults.append(f"interval {detail!r}, recomputed {interval}")
    return faults


def _number(text: str, like: Any) -> Any:
    if text == "":
        return None
    return text if isinstance(like, str) else float(text)


def _interval_close(text: str, value: tuple[float, float], tolerance: float) -> bool:
    ends = [float(one.replace("−", "-")) / 100 for one in text.split(" to ")]
    return all(abs(end - true) <= tolerance for end, true in zip(ends, value, strict=True))


def _shown(name: str, value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or "–"
    for names, show in SHOWN.items():
        if name in names.split():
            return show(value)
    return f"{value:,}".replace(",", "\u202f")


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(difference: float) -> str:
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


SHOWN: dict[str, Callable[[float], str]] = {
    "accuracy parse_rate majority always_first chance base_mean adapted_mean": _percent,
    "delta delta_mean": _points,
    "delta_sd": lambda size: _points(size).lstrip("+"),
    "macro_f1 ece brier": "{:.3f}".format,
    "mcnemar_p holm_p": _p,
}


if __name__ == "__main__":
    faults = mismatches(Path(sys.argv[1]))
    print("\n".join(faults) or "every number agrees")
    sys.exit(bool(faults))
