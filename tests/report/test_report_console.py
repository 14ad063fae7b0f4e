"""The table in the terminal: each accuracy and the difference with their intervals, as results.json has them."""

import json
from pathlib import Path

import pytest

from pmc_llama.records.results import read_results
from pmc_llama.report.console import print_results


def test_every_accuracy_stands_with_its_interval(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_results(read_results(run_dir / "results.json"))
    said = capsys.readouterr().out
    rows = json.loads((run_dir / "results.json").read_text())["summary"]
    lines = [line for line in said.splitlines() if line.split()[:2] in [[row["regime"], row["task"]] for row in rows]]
    assert len(lines) == len(rows) > 3
    for row, line in zip(rows, lines, strict=True):
        for side in ("first", "second"):
            low, high = (f"{100 * bound:.1f}" for bound in row[f"{side}_ci95"])
            assert f"{100 * row[f'{side}_mean']:.1f} ({low} to {high})" in line
