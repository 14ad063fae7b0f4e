"""Looking at a corpus: statistics, one paper before and after, the card."""

import json
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
import yaml
from rich.console import Console
from tests.corpus.samples import jats, papers_row, s2orc_row, write_lines, write_tar
from tests.corpus.test_build import section

from builders import write_store_info
from pmc_llama.corpus.build import build_corpus
from pmc_llama.corpus.show import render_shown, show_paper
from pmc_llama.corpus.stats import corpus_stats, render_stats
from pmc_llama.errors import InputError


def printed(renderable: object) -> str:
    console = Console(width=120, record=True, file=None, quiet=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_lines(tmp_path / "s2orc.jsonl.gz", [s2orc_row(1), s2orc_row(2, pmcid="22"), s2orc_row(3)])
    write_lines(tmp_path / "papers.gz", [papers_row(1, "11"), papers_row(3, None)])
    body = "<sec><title>Methods</title><p>We [like] it.</p></sec><sec><title>Funding</title><p>Money.</p></sec>"
    write_tar(
        tmp_path / "pmc.tar.gz", {"PMC11.xml": jats(11, body), "PMC33.xml": jats(33, "<p>x</p>" + body, doi="10.1/y")}
    )
    return tmp_path


SOURCES = (
    {"name": "s2orc", "paths": ["s2orc.jsonl.gz"], "papers": ["papers.gz"]},
    {"name": "pmc", "paths": ["pmc.tar.gz"]},
)


def test_statistics(root: Path) -> None:
    build_corpus(section(*SOURCES), root, root / "out", workers=1)
    stats = corpus_stats(root / "out")
    assert stats.papers == 3
    assert stats.sources == {"pmc": 2, "s2orc": 1}
    assert stats.sections == {"methods": 2}
    assert stats.dropped == {"no_pmcid": 1, "duplicate_pmcid": 1}
    assert stats.chars_removed["back_matter"] == 2 * len("FundingMoney.")
    assert stats.years == {"None": 1, "2011": 2}
    shown = printed(render_stats(stats))
    assert "3 papers" in shown
    assert "back_matter" in shown
    assert "tokens" not in shown
    write_store_info(root / "tokens" / "out", 4321)
    assert "4,321 tokens" in printed(render_stats(corpus_stats(root / "out")))
    with pytest.raises(InputError, match="no finished corpus"):
        corpus_stats(root)


@pytest.mark.parametrize(
    ("name", "sources"), [("PMC11", ["s2orc", "pmc"]), ("pmc:33", ["pmc"]), ("22", ["s2orc"]), ("s2:3", ["s2orc"])]
)
def test_one_paper_before_and_after(root: Path, name: str, sources: list[str]) -> None:
    found = show_paper(section(*SOURCES), root, name)
    assert [shown.source for shown in found] == sources
    for shown in found:
        assert len(shown.paper.text) == len(shown.text) + sum(shown.removed.values())
    if name == "pmc:33":
        text = printed(render_shown(found[0]))
        assert text.count("We [like] it.") == 2
        assert text.count("Money.") == 1  # only before


def test_papers_that_are_not_there(root: Path) -> None:
    with pytest.raises(InputError, match="PMC99 is in none"):
        show_paper(section(*SOURCES), root, "PMC99")
    with pytest.raises(InputError, match="hello is in none of the recipe's sources; a paper is asked for by PMC id"):
        show_paper(section(*SOURCES), root, "hello")


def test_card_has_valid_front_matter_and_all_counts(root: Path) -> None:
    build_corpus(section(*SOURCES), root, root / "out", workers=1)
    _, front, body = (root / "out" / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front)["configs"][0]["data_files"] == "parts/*.parquet"
    summary = json.loads((root / "out" / "corpus.json").read_text())
    for reason, count in summary["dropped"].items():
        assert f"| {reason} | {count} |" in body
    licenses = Counter(pl.read_parquet(root / "out" / "parts").get_column("license").to_list())
    assert len(licenses) > 1
    assert all(f"| {name or 'unknown'} | {count} |" in body for name, count in licenses.items())
    columns = pl.scan_parquet(root / "out" / "parts" / "*.parquet").collect_schema().names()
    assert all(f"`{column}`" in body for column in columns)


def test_names_of_others_are_shown_and_do_nothing(tmp_path: Path) -> None:
    hostile = "x[/b]y \x1b[31m"
    rows = [{"id": "a", "text": f"Text of {hostile}", "journal": hostile, "license": "[CC](http://x) | <img>"}]
    write_lines(tmp_path / "a.jsonl", rows)
    source = section({"name": "own", "paths": ["a.jsonl"]}, select={"pmcid": "any"})
    build_corpus(source, tmp_path, tmp_path / "out", workers=1)
    shown = printed(render_stats(corpus_stats(tmp_path / "out")))
    assert "x[/b]y" in shown and "\x1b[31m" not in shown
    shown = printed(render_shown(next(iter(show_paper(source, tmp_path, "own:a")))))
    assert "x[/b]y" in shown and "\x1b[31m" not in shown
    card = (tmp_path / "out" / "README.md").read_text()
    assert r"| \[CC\](http://x) \| \<img\> | 1 |" in card
