"""The page in a real headless Chromium: silent, still, sortable, filterable, legible in both schemes and widths."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from pmc_llama.files import read_json
from pmc_llama.report.compare import compare
from pmc_llama.report.page import build_report
from pmc_llama.results.table import compute_results
from report.chromium import Chromium, executable
from report.fake_run import HOSTILE, write_run

pytestmark = pytest.mark.skipif(executable() is None, reason="Chromium is not installed (Debian: apt install chromium)")

AXE = Path(os.environ.get("PMC_LLAMA_AXE", "node_modules/axe-core/axe.min.js"))
FAULTS_JS = Path(__file__).with_name("faults.js")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(chromium: Chromium, run_dir: Path) -> Chromium:
    chromium.open((run_dir / "report.html").as_uri())
    return chromium


def screenshots(run_dir: Path) -> Path:
    """Where pictures of the page are kept: beside the report, or where CI collects them."""
    return Path(os.environ.get("PMC_LLAMA_SCREENSHOTS", run_dir / "report" / "screenshots"))


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_opens_in_silence_and_fits(chromium: Chromium, run_dir: Path, width: int, scheme: str) -> None:
    address = (run_dir / "report.html").as_uri()
    chromium.open(address, width=width, scheme=scheme)
    chromium.screenshot(screenshots(run_dir) / f"report-{width}-{scheme}.png")
    chromium.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    requests = [
        event["params"]["request"]["url"] for event in chromium.events if "requestWillBeSent" in event["method"]
    ]
    assert set(requests) == {address}
    loud = {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"}
    assert [event for event in chromium.events if event["method"] in loud] == []
    assert chromium.run("document.documentElement.scrollWidth") == width
    paper = chromium.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(json.loads(f"[{paper.removeprefix('rgb(').removesuffix(')')}]")) < 384) == (scheme == "dark")


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_has_no_accessibility_fault(chromium: Chromium, run_dir: Path, width: int, scheme: str) -> None:
    chromium.open((run_dir / "report.html").as_uri(), width=width, scheme=scheme)
    chromium.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert chromium.run(FAULTS_JS.read_text()) == []


@pytest.mark.skipif(
    not AXE.is_file(), reason="axe-core is not there (npm install axe-core, or PMC_LLAMA_AXE=…/axe.min.js)"
)
@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_axe_finds_nothing_serious(chromium: Chromium, run_dir: Path, width: int, scheme: str) -> None:
    chromium.open((run_dir / "report.html").as_uri(), width=width, scheme=scheme)
    chromium.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    chromium.run(AXE.read_text() + "; 0")
    found = json.loads(chromium.run("axe.run().then((found) => JSON.stringify(found.violations))"))
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []


def test_the_accessibility_check_finds_planted_faults(page: Chromium) -> None:
    page.run(
        "document.querySelector('main').insertAdjacentHTML('beforeend', "
        "'<input id=theme><h5>deep</h5><p style=\"color: #aaa; background: #fff\">pale</p><svg role=img></svg>')"
    )
    faults = " ".join(page.run(FAULTS_JS.read_text()))
    for expected in ("id twice: theme", "no name: INPUT", "heading skips a level: deep", "contrast", "no name: svg"):
        assert expected in faults


def column(page: Chromium, table: str, name: str) -> list[str]:
    cells = f"document.querySelectorAll(\"[data-table='{table}'] [data-column='{name}']\")"
    values: list[str] = page.run(f"[...{cells}].map((cell) => cell.dataset.value)")
    return values


def press_head(page: Chromium, table: str, label: str) -> None:
    buttons = f"document.querySelectorAll(\"[data-table='{table}'] thead button\")"
    page.run(f"[...{buttons}].find((button) => button.textContent === {label!r}).click()")


def test_tables_sort_by_number_and_by_word(page: Chromium, run_dir: Path) -> None:
    accuracies = sorted(row["accuracy"] for row in read_json(run_dir / "results.json")["rows"])
    press_head(page, "cells", "Accuracy")
    assert [float(value) for value in column(page, "cells", "accuracy")] == accuracies
    press_head(page, "cells", "Accuracy")
    assert [float(value) for value in column(page, "cells", "accuracy")] == accuracies[::-1]
    press_head(page, "cells", "Task")
    assert column(page, "cells", "task") == sorted(column(page, "cells", "task"))
    assert page.run("document.querySelectorAll('[data-table=cells] th[aria-sort]').length") == 1


def choose(page: Chromium, **values: str) -> int:
    """Set filters and return how many questions match."""
    for name, value in values.items():
        page.run(f"form = document.getElementById('filters'), form.{name}.value = {json.dumps(value)}")
    page.run("form.dispatchEvent(new Event('input'))")
    return int(page.run("document.getElementById('found').textContent").split()[0])


def test_the_browser_finds_what_the_models_disagree_on(page: Chromium, run_dir: Path) -> None:
    runs = page.run("JSON.parse(document.getElementById('data').textContent).runs")
    tasks = page.run("JSON.parse(document.getElementById('data').textContent).tasks")
    for row in read_json(run_dir / "results.json")["comparisons"]:
        run, task = str(runs.index([row["regime"], row["seed"]])), str(tasks.index(row["task"]))
        assert choose(page, run=run, task=task, outcome="10") == row["b"]
        assert choose(page, run=run, task=task, outcome="01") == row["c"]
    assert choose(page, run="0", task="", outcome="") == 180
    unparsed = pl.read_parquet(run_dir / "predictions.parquet").filter(regime=runs[0][0], seed=runs[0][1], chosen=-1)
    assert choose(page, outcome="unparsed") == unparsed["question_id"].n_unique()
    assert choose(page, outcome="", text="drug 17 of usmle") == 1


def test_a_question_shows_prompt_options_and_both_probabilities(page: Chromium, run_dir: Path) -> None:
    assert choose(page, text="usmle-0000", run="0") == 1
    page.run("document.querySelector('.question').open = true, new Promise((done) => setTimeout(done, 50))")
    question = pl.read_parquet(run_dir / "questions.parquet").filter(question_id="usmle-0000").row(0, named=True)
    assert page.run("document.querySelector('.question pre').textContent") == question["prompt"]
    assert HOSTILE in question["prompt"]
    assert page.run("window.broken") is None
    assert (
        page.run("document.querySelector('.question tr.gold td').firstChild.data")
        == question["options"][question["gold"]]
    )
    cells = "[...document.querySelectorAll('.question td.number')].map((cell) => cell.textContent)"
    shown = [float(text.removeprefix("chosen, ").removesuffix(" %")) for text in page.run(cells)]
    assert sum(shown[0::2]) == pytest.approx(100, abs=0.3)
    assert sum(shown[1::2]) == pytest.approx(100, abs=0.3)


def test_questions_come_a_page_at_a_time(page: Chromium) -> None:
    count = "document.querySelectorAll('.question').length"
    assert page.run(count) == 20
    page.run("document.getElementById('more').click()")
    assert page.run(count) == 40


def test_the_scheme_can_be_chosen(page: Chromium) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.run(paper)
    press = "document.getElementById('theme').click()"
    page.run(f"{press}, {press}")
    assert page.run("document.documentElement.dataset.theme") == "dark"
    assert page.run(paper) != light
    page.run(press)
    assert page.run(paper) == light


def test_prints_without_controls(page: Chromium) -> None:
    page.call("Emulation.setEmulatedMedia", media="print")
    try:
        hidden = "getComputedStyle(document.querySelector('{}')).display === 'none'"
        assert all(page.run(hidden.format(selector)) for selector in ("nav", "#questions", "details.data"))
        assert page.run("document.querySelector('#verdict').checkVisibility()")
    finally:
        page.call("Emulation.setEmulatedMedia", media="")


def test_a_comparison_and_a_null_result_are_as_sound(chromium: Chromium, run_dir: Path, tmp_path: Path) -> None:
    null = write_run(tmp_path / "null", gain=0.0, n=60, seeds=(0,), training=False, corpora=False)
    compute_results(null / "predictions.parquet", null / "results.json")
    pages = [build_report(null), compare(run_dir, null).write(tmp_path / "compare.html")]
    for i, file in enumerate(pages):
        for width in (390, 1440):
            chromium.open(file.as_uri(), width=width)
            assert chromium.run("document.documentElement.scrollWidth") == width
            assert chromium.run(FAULTS_JS.read_text()) == []
            chromium.screenshot(screenshots(run_dir) / f"{('null', 'compare')[i]}-{width}.png")
