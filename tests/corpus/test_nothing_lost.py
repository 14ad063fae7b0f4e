"""Inputs that yield nothing say so: by the recipe's key, by the file's name, by a sentence."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.builders import small_recipe
from tests.corpus.samples import jats, s2orc_row, write_lines
from tests.corpus.test_build import check_accounts, read_parts, section

from pmc_llama.corpus import stage
from pmc_llama.corpus.build import build_corpus
from pmc_llama.corpus.readers import base
from pmc_llama.corpus.show import show_paper
from pmc_llama.errors import InputError
from pmc_llama.recipe import Recipe

GUIDELINE = "Give oxygen.\n"


def build(tmp_path: Path, *paths: str, **keys: Any) -> dict:
    build_corpus(section({"name": "s", "paths": list(paths)}, **keys), tmp_path, tmp_path / "out", workers=1)
    return check_accounts(tmp_path / "out")


def test_plain_text_needs_no_pmc_id_unless_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(GUIDELINE)
    write_lines(tmp_path / "b.jsonl", [s2orc_row(1, pmcid="1"), s2orc_row(2)])
    summary = build(tmp_path, "a.txt", "b.jsonl")
    assert (summary["kept"], summary["dropped"]) == (2, {"no_pmcid": 1})
    assert sorted(read_parts(tmp_path / "out")["paper_id"]) == ["pmc:1", "s:a.txt"]
    summary = build(tmp_path, "a.txt", "b.jsonl", select={"pmcid": "required"})
    assert (summary["kept"], summary["dropped"]) == (1, {"no_pmcid": 2})


def test_default_of_further_corpora() -> None:
    raw = small_recipe()
    raw["extra"] = {
        "books": {"sources": [{"name": "b", "paths": ["b"]}]},
        "own": {"sources": [{"name": "b", "paths": ["b"]}], "select": {"pmcid": "required", "min_chars": 5}},
    }
    raw["general"] = {"sources": [{"name": "g", "paths": ["g"]}], "select": {"min_chars": 7}}
    raw["corpus"].pop("select", None)
    recipe = Recipe.model_validate(raw)
    found = {name: corpus.select.pmcid for name, corpus in recipe.corpora.items()}
    assert found == {"corpus": None, "general": "any", "books": "any", "own": "required"}
    assert recipe.general is not None and recipe.general.select.min_chars == 7
    again = Recipe.model_validate(recipe.model_dump(mode="json", exclude_none=True))
    assert again.corpora == recipe.corpora


@pytest.mark.parametrize(
    ("select", "words"),
    [
        ({}, "2 no_pmcid (`select.pmcid: any`)"),
        ({"pmcid": "any", "min_chars": 10**6}, "2 too_short (`select.min_chars`)"),
        ({"pmcid": "any", "licenses": ["CC0"]}, "2 license (`select.licenses`)"),
    ],
)
def test_a_corpus_that_keeps_nothing_is_an_error(tmp_path: Path, select: dict, words: str) -> None:
    write_lines(tmp_path / "a.jsonl", [s2orc_row(1), s2orc_row(2)])
    with pytest.raises(InputError) as error:
        build(tmp_path, "a.jsonl", select=select)
    assert words in str(error.value)
    assert "keeps none of its 2 records" in str(error.value)
    (ledger,) = (tmp_path / "out" / "ledger").iterdir()
    assert json.loads(ledger.read_text())["kept"] == 0
    assert not (tmp_path / "out" / "corpus.json").exists()
    assert build(tmp_path, "a.jsonl", select={"pmcid": "any"})["kept"] == 2


def test_inputs_without_records_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "a", "text": 1')
    with pytest.raises(InputError, match=r"1 bad_json; the ledgers lie in .*\n  - a\.jsonl#1: bad_json"):
        build(tmp_path, "a.jsonl")


def test_files_that_could_not_be_read_are_named(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (tmp_path / f"{number}.xml").write_bytes(jats(number)[: -20 if number == 2 else None])
    (tmp_path / "empty.xml").write_bytes(b"")
    (tmp_path / "no-text.txt").write_bytes(b"\xff\xf0")
    summary = build(tmp_path, "*.xml", "*.txt")
    named = ["2.xml: bad_xml", "empty.xml: empty_file", "s:no-text.txt: bad_utf8"]
    assert sorted(summary["unread"]) == named
    ledgers = [json.loads(path.read_text()) for path in (tmp_path / "out" / "ledger").iterdir()]
    assert sorted(name for ledger in ledgers for name in ledger["unread"]) == named
    card = (tmp_path / "out" / "README.md").read_text()
    assert all(f"- {name}" in card for name in named)


def test_all_files_of_a_group_that_cannot_be_read_are_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "BLOCK_BYTES", 10)
    monkeypatch.setattr(stage, "SEGMENT_BYTES", 10)
    for number in range(6):
        (tmp_path / f"{number}.xml").write_bytes(jats(7 + number) if number % 2 else b"<html><p>words</p></html>")
    with pytest.raises(InputError) as error:
        build(tmp_path, "*.xml")
    assert all(f"{number}.xml: the format is not recognised" in str(error.value) for number in (0, 2, 4))
    staged = tmp_path / "out" / "work" / "staged"
    assert not list(staged.glob("*.arrow")), "what stands behind a file that is missing would be resumed in its place"


@pytest.mark.parametrize("stated", ["auto", "text"])
def test_pdf_is_refused_with_the_way_out(tmp_path: Path, stated: str) -> None:
    (tmp_path / "guide.pdf").write_bytes(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\nwords")
    source = {"name": "s", "paths": ["*.pdf"], "format": stated}
    with pytest.raises(InputError, match=r"guide\.pdf: PDF is not read; convert it with `pdftotext"):
        build_corpus(section(source), tmp_path, tmp_path / "out", workers=1)


@pytest.mark.parametrize("name", ["s:fever.txt", "fever.txt", "s:x", "doi:10.1/own"])
def test_documents_of_ones_own_can_be_shown(tmp_path: Path, name: str) -> None:
    (tmp_path / "fever.txt").write_text(GUIDELINE)
    write_lines(tmp_path / "a.jsonl", [{"text": "Own.", "doi": "10.1/own"}, {"text": "Named.", "id": "x"}])
    (shown,) = show_paper(section({"name": "s", "paths": ["*.txt", "*.jsonl"]}), tmp_path, name)
    assert name.removeprefix("s:") in shown.paper.paper_id
