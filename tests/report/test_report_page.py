"""The page from whatever a run directory holds: complete, in part, or nothing."""

import re
from pathlib import Path

import polars as pl
import pytest
from lxml import html

from pmc_llama.errors import InputError
from pmc_llama.records.results import Results
from pmc_llama.report.page import build_report
from pmc_llama.results.table import compute_results
from report.fake_run import HOSTILE, write_run


def page_text(page: Path) -> str:
    return " ".join(html.parse(str(page)).getroot().text_content().split())


def test_a_whole_run_shows_every_part(run_dir: Path) -> None:
    tree = html.parse(str(run_dir / "report.html"))
    figures = {figure.get("id").removeprefix("figure-") for figure in tree.xpath("//figure")}
    assert {"forest-base-adapted", "perplexity", "coverage", "loss-base", "loss-pretrain", "loss-tune-full"} <= figures
    assert {"funnel-corpus", "funnel-general", "reliability-usmle", "efficiency-full-usmle"} <= figures
    for figure in tree.xpath("//figure"):
        assert figure.xpath(".//*[local-name()='svg']/@aria-label")[0].strip()
        assert figure.xpath(".//details//table//tbody/tr")
    ids = tree.xpath("//@id")
    assert len(ids) == len(set(ids))
    assert not tree.xpath("//p[@class='missing' and not(parent::noscript)]")


def test_the_page_is_one_file_that_asks_for_nothing(run_dir: Path) -> None:
    text = (run_dir / "report.html").read_text()
    assert not re.findall(r"""(?:src|href|action)\s*=\s*["'](?!#)""", text)
    assert not re.findall(r"url\((?!#)|@import", text)
    assert "default-src 'none'" in text


def test_hostile_questions_stay_text(run_dir: Path) -> None:
    text = (run_dir / "report.html").read_text()
    assert "window.broken" in text
    assert "<script>window.broken" not in text
    assert HOSTILE not in text


def test_tables_lie_beside_the_page_as_markdown_and_csv(run_dir: Path) -> None:
    folder = run_dir / "report" / "tables"
    assert {"paper.md", "paper.csv", "cells.csv", "differences.md", "licences-corpus.csv"} <= {
        file.name for file in folder.iterdir()
    }
    cells = pl.read_csv(folder / "cells.csv")
    assert len(cells) == 78
    assert (cells["accuracy"] - cells["correct"] / cells["n"]).abs().max() < 1e-12
    assert (folder / "paper.md").read_text().count("\n| full ") == 3


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"training": False}, "Nothing was trained in this run."),
        ({"corpora": False}, "No corpus was built in this run."),
        ({"regimes": {"zero-shot": {"kind": "zero_shot"}}}, "The verdict is about the regime zero-shot"),
    ],
)
def test_a_missing_part_is_a_sentence(parts: dict, sentence: str, tmp_path: Path) -> None:
    run = write_run(tmp_path, n=10, **{"training": False, "corpora": False} | parts)
    compute_results(run / "predictions.parquet", run / "results.json")
    assert sentence in page_text(build_report(run))


def test_no_questions_at_all(tmp_path: Path) -> None:
    run = write_run(tmp_path, n=3, training=False, corpora=False)
    empty = pl.read_parquet(run / "predictions.parquet")[:0]
    empty.write_parquet(run / "predictions.parquet")
    results = compute_results(run / "predictions.parquet", run / "results.json")
    assert results == Results()
    text = page_text(build_report(run))
    assert "Not tested" in text
    assert "No questions were scored in this run" in text


def test_an_empty_run_directory_gives_a_page_that_says_so(tmp_path: Path) -> None:
    text = page_text(build_report(tmp_path, title="Nothing yet"))
    assert "Nothing yet" in text
    assert "Not tested" in text


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run directory"):
        build_report(tmp_path / "absent")
