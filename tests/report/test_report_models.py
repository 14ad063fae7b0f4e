"""A report of many models: one table, a forest plot a comparison, any two models in the browser, what each model is."""

import json
from pathlib import Path

import polars as pl
import pytest
from lxml import html

from pmc_llama.errors import InputError
from pmc_llama.recipe.comparisons import default_comparisons
from pmc_llama.records.results import read_results
from pmc_llama.report.browser import browser
from pmc_llama.report.compare import compare
from pmc_llama.report.console import print_results
from pmc_llama.report.run import Run
from pmc_llama.results.table import compute_results
from report.conftest import OTHERS
from report.readback import mismatches

MODELS = ["base", "adapted", *OTHERS]
PAIRS = [(name, "adapted") for name in MODELS if name != "adapted"]


def test_every_number_of_many_models_is_recomputed(field: Path) -> None:
    contamination = {"usmle": {"questions": 30, "questions_hit": 2, "documents_hit": 1, "untestable": 0, "kinds": {}}}
    contamination["usmle"] |= {"question_ids": ["usmle-0001", "usmle-0003"], "examples": []}
    texts = {"corpus": {"kind": "corpus", "documents": 1, "tasks": contamination}}
    (field / "contamination").mkdir(exist_ok=True)
    (field / "contamination" / "contamination.json").write_text(json.dumps({"texts": texts}))
    assert mismatches(field) == []


def test_there_is_one_table_of_all_models_and_a_forest_plot_a_comparison(field: Path) -> None:
    page = html.parse(str(field / "report.html"))
    untuned = page.xpath("//table[@data-table='paper']//tr[@data-regime='zero-shot']/*[@data-column='model']/text()")
    assert untuned == [*MODELS, *(f"{second} − {first}" for first, second in PAIRS)]
    tuned = page.xpath("//table[@data-table='paper']//tr[@data-regime='full']/*[@data-column='model']/text()")
    assert tuned == ["base", "adapted", "chat.doctor", "adapted − base", "adapted − chat.doctor"]
    for first, second in PAIRS:
        assert len(page.xpath(f"//*[@id='figure-forest-{first}-{second}']")) == 1
    ids = page.xpath("//@id")
    assert len(ids) == len(set(ids))
    assert page.xpath("//table[@data-table='models']//tr/@data-model") == MODELS


def test_the_verdict_is_about_the_first_comparison(field: Path) -> None:
    page = html.parse(str(field / "report.html"))
    strip = page.xpath("//dl[@class='strip']/div/dd[2]/text()")
    assert len(strip) == 3 and all("base →" in text and text.endswith("adapted") for text in strip)


def test_the_browser_holds_the_answers_of_every_model(field: Path) -> None:
    page = html.parse(str(field / "report.html"))
    data = json.loads(page.xpath("string(//script[@id='data'])"))
    assert data["models"] == MODELS
    asked = {len([one for one in answers if one]) for question in data["questions"] for answers in question["a"]}
    assert asked == {3, 5}  # tuned and untuned regimes
    run = Run(field)
    few = browser(run.questions, run.predictions, limit_bytes=20_000)
    assert few is not None and 0 < few.shown < few.total


def test_each_comparison_has_a_holm_family_of_its_own(field: Path, tmp_path: Path) -> None:
    """Adding a model must not change what is said of the others."""
    results = read_results(field / "results.json")
    own = pl.read_parquet(field / "predictions.parquet").filter(pl.col("model").is_in(["base", "adapted"]))
    own.write_parquet(tmp_path / "own.parquet")
    alone = compute_results(tmp_path / "own.parquet", tmp_path / "own.json", primary=Run(field).primary)
    assert results.between(("base", "adapted")).summary == alone.summary
    assert results.between(("base", "adapted")).comparisons == alone.comparisons
    assert results.compared == PAIRS


def test_only_the_comparisons_asked_for_are_made(field: Path, tmp_path: Path) -> None:
    asked = [("gpt", "meditron-7b"), ("base", "adapted")]
    results = compute_results(field / "predictions.parquet", tmp_path / "results.json", compared=asked)
    assert results.compared == asked
    assert {row.regime for row in results.between(asked[0]).summary} == {"zero-shot"}
    assert {row.model for row in results.means} == set(MODELS)


def test_the_console_names_both_models_of_each_row(field: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = read_results(field / "results.json")
    print_results(results)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("zero-shot")]
    rows = [row for row in results.summary if row.regime == "zero-shot"]
    assert len(lines) == len(rows) == 12
    for row, line in zip(rows, lines, strict=True):
        assert (
            f"{row.first} {100 * row.first_mean:.1f} (" in line
            and f"{row.second} {100 * row.second_mean:.1f} (" in line
        )


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ([], []),
        (["adapted"], []),
        (["other", "adapted", "base"], [("base", "adapted"), ("other", "adapted")]),
        (["one", "two", "three"], [("one", "three"), ("two", "three")]),
    ],
)
def test_models_are_compared_with_the_adapted_one(models: list[str], expected: list[tuple[str, str]]) -> None:
    assert default_comparisons(models) == expected


def test_any_runs_and_models_are_compared(field: Path, run_dir: Path, tmp_path: Path) -> None:
    inside = compare(f"{field}:gpt", f"{field}:chat.doctor", f"{field}:adapted")
    assert inside.names == ("fake:gpt", "fake:chat.doctor", "fake:adapted")
    rows = [(row.values["second"], row.values["model"], row.values["regime"]) for row in inside.answers.rows]
    pairs = (("fake:chat.doctor", "gpt → chat.doctor"), ("fake:adapted", "gpt → adapted"))
    assert rows == [(*pair, "zero-shot") for pair in pairs for _ in range(3)]
    expected = {(row.first, row.task): row for row in read_results(field / "results.json").summary}
    for row in inside.answers.rows[3:]:
        assert row.values["p"] == expected["gpt", row.values["task"]].p
    assert "gpt → chat.doctor · full · usmle: only in fake:chat.doctor" in inside.only
    shown = html.parse(str(inside.write(tmp_path / "compare.html")))
    assert len(shown.xpath("//table[@data-table='comparison']/tbody/tr")) == 6
    three = compare(field, field, f"{field}:base")
    assert {row.values["p"] for row in three.answers.rows} == {1.0}


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (["{field}"], "takes two runs or more"),
        (["{field}", "{field}:gptt"], "no answers of a model 'gptt'; it has base, adapted, chat.doctor"),
        (["{field}", "{field}/nowhere"], "nowhere is not a run directory"),
    ],
)
def test_what_cannot_be_compared_is_told(places: list[str], message: str, field: Path) -> None:
    with pytest.raises(InputError, match=message):
        compare(*(place.format(field=field) for place in places))
