"""One odd value costs itself: not its list, not its paper, not its file."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.corpus.samples import s2orc_row, write_lines
from tests.corpus.test_build import check_accounts, read_parts, section
from tests.corpus.test_readers import read, texts

from pmc_llama.corpus.build import build_corpus
from pmc_llama.corpus.paper import Paper

TEXT = "One. Two. Three."
KINDS = frozenset(("title", "paragraph"))


def annotated(*middle: Any, paragraph: Any = None, **more: Any) -> dict:
    """A v1 row of three paragraphs, of which the second is given."""
    row = s2orc_row(1, pmcid="1", text=TEXT)
    spans = [{"start": 0, "end": 4}, *middle, {"start": 10, "end": 16}]
    row["content"]["annotations"] |= {"paragraph": json.dumps(spans) if middle else paragraph, **more}
    return row


@pytest.mark.parametrize(
    ("odd", "is_read"),
    [
        ({"start": "5", "end": "9"}, True),
        ({"start": 5.0, "end": 9.0}, True),
        ({"start": 5, "end": 9, "attributes": {"id": ["a", "b"]}}, True),
        ({"start": 5, "end": 9, "attributes": "none"}, True),
        ({"start": 5}, False),
        ({"start": None, "end": None}, False),
        ({"start": 5.5, "end": 9}, False),
        ({"start": True, "end": 9}, False),
        ("words", False),
        (None, False),
    ],
)
def test_an_odd_span_costs_itself_at_most(tmp_path: Path, odd: Any, is_read: bool) -> None:
    (paper,) = read(write_lines(tmp_path / "a.jsonl", [annotated(odd)]))
    assert isinstance(paper, Paper)
    assert texts(paper, "paragraph") == ["One.", *["Two."] * is_read, "Three."]
    assert paper.invalid_spans == (not is_read)
    v2 = {"corpusid": 1, "body": {"text": TEXT, "annotations": {"paragraph": [{"start": 0, "end": 4}, odd]}}}
    (paper,) = read(write_lines(tmp_path / "b.jsonl", [v2]))
    assert isinstance(paper, Paper)
    assert texts(paper, "paragraph") == ["One.", *["Two."] * is_read]


def test_lists_that_are_decoded_or_missing(tmp_path: Path) -> None:
    spans = [{"start": 0, "end": 4}, {"start": 5, "end": 9}]
    rows = [annotated(paragraph=spans), annotated(paragraph=json.dumps(spans)), annotated(paragraph=spans, title=7)]
    rows.append(annotated())
    rows[-1]["content"]["annotations"] = json.dumps({"paragraph": json.dumps(spans)})
    rows += [annotated(), annotated(title='[{"start": 0, "end": 4}]'), annotated(paragraph="no json")]
    rows.append(annotated())
    rows[-1]["content"]["annotations"] = None
    found = read(write_lines(tmp_path / "a.jsonl", rows), kinds=KINDS)
    assert [texts(one, "paragraph") if isinstance(one, Paper) else one for one in found] == [
        *[["One.", "Two."]] * 4,
        *["no_paragraphs"] * 4,
    ]
    whole = read(tmp_path / "a.jsonl", kinds=frozenset(("title",)))  # a profile that takes the text whole
    assert [one.text for one in whole if isinstance(one, Paper)] == [TEXT] * 8


def test_one_broken_list_of_v2_leaves_the_others(tmp_path: Path) -> None:
    lists = {"title": "no json", "paragraph": '[{"start": 0, "end": 4}]', "author": None}
    rows = [{"corpusid": 1, "body": {"text": TEXT, "annotations": lists}}]
    rows.append({"corpusid": 2, "body": {"text": TEXT, "annotations": {"paragraph": None}}})
    paper, reason = read(write_lines(tmp_path / "a.jsonl", rows), kinds=KINDS)
    assert isinstance(paper, Paper)
    assert (texts(paper, "paragraph"), paper.invalid_spans, reason) == (["One."], 1, "no_paragraphs")


def test_metadata_of_other_types_is_null(tmp_path: Path) -> None:
    rows = [
        {"text": "One.", "id": "a", "year": "2012", "license": ["x"], "title": ["A"], "doi": {"x": 1}},
        {"text": "Two.", "id": 9.0, "corpusid": "77", "journal": {"name": "J"}, "year": [1], "pmcid": 12.0},
        {"text": "Three.", "id": "c", "corpusid": -5, "pmid": True},
        {"text": ["Four."], "id": "d"},
    ]
    one, two, three, four = read(write_lines(tmp_path / "a.jsonl", rows))
    assert isinstance(one, Paper) and isinstance(two, Paper) and isinstance(three, Paper)
    assert (one.text, one.paper_id, one.year, one.license, one.title, one.doi) == (
        "One.",
        "src:a",
        2012,
        None,
        "",
        None,
    )
    assert (two.paper_id, two.corpusid, two.journal, two.year) == ("pmc:12", 77, None, None)
    assert (three.paper_id, three.pmid) == ("src:c", None)
    assert four == "bad_json"


def test_columns_of_other_types_are_null(tmp_path: Path) -> None:
    table = {"text": ["One.", "Two."], "year": ["2011", "x"], "title": [["A"], ["B"]], "pmid": [5.0, float("nan")]}
    pl.DataFrame(table).write_parquet(tmp_path / "a.parquet")
    found = [one for one in read(tmp_path / "a.parquet") if isinstance(one, Paper)]
    assert [(one.text, one.year, one.title, one.pmid) for one in found] == [
        ("One.", 2011, "", 5),
        ("Two.", None, "", None),
    ]


def legacy(**changes: Any) -> dict:
    paragraph = {"text": "We gave [1].", "section": "Results", "cite_spans": [], "ref_spans": []}
    row: dict[str, Any] = {"paper_id": "11", "metadata": {"title": "T"}, "abstract": [], "body_text": [paragraph]}
    for key, value in changes.items():
        place = paragraph if key in ("cite_spans", "sec_num") else row["metadata"] if key in ("doi", "year") else row
        place[key] = value
    return row


@pytest.mark.parametrize(
    "changes",
    [
        {"doi": ["10.1/x"], "year": 2003.0},
        {"paper_id": 11},
        {"sec_num": 2},
        {"cite_spans": None},
        {"bib_entries": {"b": {"title": ["X"], "authors": None}}},
        {"ref_entries": {"f": {"text": ["caption"]}}},
        {"bib_entries": [], "back_matter": "none"},
    ],
)
def test_legacy_records_keep_their_paragraphs(tmp_path: Path, changes: dict) -> None:
    (paper,) = read(write_lines(tmp_path / "a.jsonl", [legacy(**changes)]))
    assert isinstance(paper, Paper)
    assert (texts(paper, "paragraph"), paper.paper_id, paper.invalid_spans) == (["We gave [1]."], "s2:11", 0)


def test_odd_mentions_and_paragraphs_of_legacy_records(tmp_path: Path) -> None:
    row = legacy(cite_spans=[{"start": "8", "end": "11"}, {"start": None, "end": 3}, "words"])
    row["body_text"] = [{"text": None, "section": "Results"}, *row["body_text"]]
    (paper,) = read(write_lines(tmp_path / "a.jsonl", [row]))
    assert isinstance(paper, Paper)
    assert (texts(paper, "paragraph"), texts(paper, "bibref")) == (["We gave [1]."], ["[1]"])
    assert paper.invalid_spans == 2


def test_null_in_bioc(tmp_path: Path) -> None:
    passages = [{"infons": None, "text": "Title"}, {"infons": {"section_type": None, "type": None}, "text": "Words."}]
    collection = {"infons": {}, "documents": [{"id": "PMC9", "infons": None, "passages": passages}]}
    (tmp_path / "a.json").write_text(json.dumps(collection))
    (paper,) = read(tmp_path / "a.json")
    assert isinstance(paper, Paper)
    assert (paper.paper_id, "Words." in paper.text) == ("pmc:9", True)


def test_half_a_surrogate_pair_costs_one_character(tmp_path: Path) -> None:
    lines = [
        b'{"id": "a", "text": "Cut \\ud83d here."}',
        b'{"id": "b", "text": "Pair \\ud83d\\ude00.", "year": NaN}',
        b"   ",
        b"",
        b'{"id": "c", "text": "Nul \\u0000 byte."}',
    ]
    write_lines(tmp_path / "a.jsonl", lines)
    source = {"name": "s", "paths": ["a.jsonl"]}
    build_corpus(section(source, select={"pmcid": "any"}), tmp_path, tmp_path / "out", workers=1)
    assert check_accounts(tmp_path / "out")["in"] == 3
    rows = read_parts(tmp_path / "out").sort("paper_id")
    assert rows["text"].to_list() == ["Cut \ufffd here.", "Pair \U0001f600.", "Nul \0 byte."]


def test_offsets_stay_right_beside_half_a_pair(tmp_path: Path) -> None:
    row = json.dumps(s2orc_row(1, pmcid="1", text="X\ud83d Y. One.", paragraph=[(6, 10)])).encode()
    (paper,) = read(write_lines(tmp_path / "a.jsonl", [row]))
    assert isinstance(paper, Paper)
    assert (texts(paper, "paragraph"), paper.text) == (["One."], "X\ufffd Y. One.")
