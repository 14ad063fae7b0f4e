"""Every number of results.json and of the page equals the one an independent script finds in predictions.parquet."""

import json
import re
from pathlib import Path

import polars as pl
import pytest
from lxml import html

from pmc_llama.errors import InputError
from pmc_llama.report.page import build_report
from pmc_llama.report.run import Run
from pmc_llama.results.table import compute_results
from report.fake_run import write_run
from report.readback import in_tables, mismatches, recomputed


def test_every_number_agrees_with_the_independent_script(run_dir: Path) -> None:
    assert mismatches(run_dir) == []


def test_the_independent_script_notices_every_changed_number_of_the_tables(run_dir: Path) -> None:
    page = html.parse(str(run_dir / "report.html"))
    truth = recomputed(run_dir, page)
    cells = page.xpath("//table[@data-table]/tbody/tr/*[contains(@class, 'number') and @data-value != '']")
    assert len(cells) > 1000
    for cell in cells:
        cell.text = "99" + cell.text
    found = in_tables(page, truth)
    assert len(found) == len(cells)


def test_a_number_that_nobody_recomputed_is_a_mismatch(run_dir: Path) -> None:
    page = html.parse(str(run_dir / "report.html"))
    truth = recomputed(run_dir, page)
    for table in page.xpath("//table[@data-table='licences-corpus' or @data-table='forest-base-adapted']"):
        table.set("data-table", "new")
    wrong = in_tables(page, truth)
    assert wrong and all("nobody recomputed" in one or "two rows" in one for one in wrong)


@pytest.mark.parametrize(
    ("number", "place"),
    [
        (r"[+−]\d+\.\d(?= points \()", "verdict"),
        (r"(?<=interval )[+−]\d+\.\d", "verdict"),
        (r"\d+(?= of 1\u202f060 papers)", "corpus"),
        (r"(?<=from )\d+\.\d+(?= to)", "training"),
        (r"\d+(?= test question found)", "contamination"),
        (r"(?<=,\[)\d+(?=,)", "browser"),
    ],
)
def test_the_independent_script_notices_changed_prose(number: str, place: str, run_dir: Path, tmp_path: Path) -> None:
    text = (run_dir / "report.html").read_text()
    head, found, rest = re.split(f"({number})", text, maxsplit=1)
    (tmp_path / "report.html").write_text(f"{head}{found[:1] if found[0] in '+−' else ''}87.6{rest}")
    for name in run_dir.iterdir():
        if name.name not in ("report.html", "report"):
            (tmp_path / name.name).symlink_to(name)
    assert any(one.startswith((place, "words")) for one in mismatches(tmp_path))


def test_the_independent_script_notices_a_changed_result(run_dir: Path, tmp_path: Path) -> None:
    results = json.loads((run_dir / "results.json").read_text())
    results["rows"][0]["correct"] += 1
    results["uncontaminated"][0]["n"] += 1
    for name in run_dir.iterdir():
        if name.name != "results.json":
            (tmp_path / name.name).symlink_to(name)
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert len(mismatches(tmp_path)) == 2


def test_unparsed_answers_are_wrong_and_lower_the_parse_rate(tmp_path: Path) -> None:
    run = write_run(tmp_path, n=20, seeds=(0,), training=False, corpora=False)
    frame = pl.read_parquet(run / "predictions.parquet")
    silent = frame.with_columns(chosen=pl.when(pl.col("model") == "base").then(-1).otherwise("chosen").cast(pl.Int32))
    silent.write_parquet(run / "predictions.parquet")
    rows = compute_results(run / "predictions.parquet", run / "results.json").rows
    assert {(row.correct, row.parse_rate, row.ece) for row in rows if row.model == "base"} == {(0, 0.0, None)}
    build_report(run)
    assert mismatches(run) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: pl.concat([frame, frame[:1]]), "answered twice"),
        (lambda frame: frame[1:], "must answer the same questions"),
        (lambda frame: frame.drop("gold"), "lacks the column 'gold'"),
        (lambda frame: frame.with_columns(model=pl.lit(None, pl.String)), "rows name no model"),
        (lambda frame: frame.with_columns(gold=pl.when(model="base").then(0).otherwise("gold")), "the same gold"),
        (lambda frame: frame.with_columns(gold=pl.lit(9)), "none of the options"),
    ],
)
def test_predictions_that_contradict_themselves_are_refused(change, message: str, tmp_path: Path) -> None:
    run = write_run(tmp_path, n=5, seeds=(0,), training=False, corpora=False)
    change(pl.read_parquet(run / "predictions.parquet")).write_parquet(run / "predictions.parquet")
    with pytest.raises(InputError, match=message):
        compute_results(run / "predictions.parquet", run / "results.json")
    assert not (run / "results.json").exists()


def test_the_same_predictions_give_the_same_bytes(run_dir: Path, tmp_path: Path) -> None:
    run = Run(run_dir)
    compute_results(run.places.predictions, tmp_path / "results.json", run.contaminated, primary=run.primary)
    assert (tmp_path / "results.json").read_bytes() == (run_dir / "results.json").read_bytes()
    before = (run_dir / "report.html").read_bytes()
    assert build_report(run_dir).read_bytes() == before
