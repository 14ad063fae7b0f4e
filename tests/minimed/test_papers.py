"""MiniMed's papers are S2ORC records down to the quirks: double JSON, repeated unsorted spans, code-point offsets."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pmc_llama.minimed.world import write_world
from pmc_llama.recipe.minimed import MiniMedSection

SMALL = MiniMedSection(drugs=16, papers_per_drug=12, general_papers=64, vocab_size=1024)
KEYS = {
    *("title", "venue", "publisher", "abstract", "sectionheader", "paragraph", "formula"),
    *("author", "authorfirstname", "authorlastname", "authoraffiliation"),
    *("bibref", "bibentry", "bibtitle", "bibvenue", "bibauthor", "bibauthorfirstname", "bibauthorlastname"),
    *("figure", "figurecaption", "figureref", "table", "tableref"),
}


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("papers")
    write_world(SMALL, 3, out)
    return [json.loads(line) for path in sorted((out / "s2orc").glob("*.gz")) for line in gzip.open(path, "rt")]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("rows")
    write_world(SMALL, 3, out)
    return [json.loads(line) for path in (out / "papers").glob("*.gz") for line in gzip.open(path, "rt")]


def _spans(record: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return json.loads(record["content"]["annotations"][kind] or "[]")


def test_keys_are_those_of_the_real_schema(records: list[dict[str, Any]]) -> None:
    for record in records:
        assert list(record) == ["corpusid", "externalids", "content", "updated"]
        assert list(record["externalids"]) == ["arxiv", "mag", "acl", "pubmed", "pubmedcentral", "dblp", "doi"]
        assert set(record["content"]) == {"source", "text", "annotations"}
        assert set(record["content"]["annotations"]) == KEYS


def test_spans_repeat_and_cover_what_they_name(records: list[dict[str, Any]]) -> None:
    unsorted = 0
    for record in records:
        text = record["content"]["text"]
        if text is None:
            continue
        for kind in KEYS - {"publisher", "formula"}:
            starts = [(span["start"], span["end"]) for span in _spans(record, kind)]
            assert starts or kind in ("bibref", "figureref", "tableref"), kind
            assert all(0 <= start < end <= len(text) for start, end in starts)
            assert len(starts) in (2 * len(set(starts)), 3 * len(set(starts)))
            unsorted += starts[: len(set(starts))] != sorted(set(starts))
        assert {text[s["start"] : s["end"]] for s in _spans(record, "sectionheader")} >= {"Methods", "Results"}
        assert all(text[s["start"]] == "[" and text[s["end"] - 1] == "]" for s in _spans(record, "bibref"))
        ids = {s["attributes"]["id"] for s in _spans(record, "bibentry")}
        assert all(s["attributes"]["ref_id"] in ids for s in _spans(record, "bibref"))
        assert all("{" not in text[s["start"] : s["end"]] for s in _spans(record, "paragraph"))
    assert unsorted > len(records)


def test_some_offsets_differ_from_byte_offsets(records: list[dict[str, Any]]) -> None:
    shifted = 0
    for record in records:
        text = record["content"]["text"] or ""
        for span in _spans(record, "paragraph"):
            shifted += len(text[: span["start"]].encode()) != span["start"]
    assert shifted > 0


def test_most_papers_are_not_of_pmc_and_a_quarter_of_pmc_is_found_by_joining(
    records: list[dict[str, Any]], rows: list[dict[str, Any]]
) -> None:
    by_id = {row["corpusid"]: row["externalids"]["PubMedCentral"] for row in rows}
    assert len(by_id) == len(rows)
    own = {record["corpusid"]: record["externalids"]["pubmedcentral"] for record in records}
    assert set(own) == set(by_id)
    in_pmc = {corpusid for corpusid, pmcid in by_id.items() if pmcid}
    assert len(in_pmc) == SMALL.drugs * SMALL.papers_per_drug / 4
    assert len(in_pmc) < len(own) / 2
    assert sum(own[corpusid] is None for corpusid in in_pmc) == len(in_pmc) // 4
    assert all(own[corpusid] in (None, by_id[corpusid]) for corpusid in own)


def test_there_is_something_for_the_ledger(records: list[dict[str, Any]]) -> None:
    ids = [record["corpusid"] for record in records]
    assert len(ids) > len(set(ids))
    assert any(record["content"]["text"] is None for record in records)


def test_shards_are_gzip_without_a_time(tmp_path: Path) -> None:
    write_world(SMALL, 0, tmp_path)
    for path in tmp_path.rglob("*.gz"):
        assert path.read_bytes()[:8] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00"


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def test_papers_about_half_of_the_drugs_can_come_later(tmp_path: Path) -> None:
    section = SMALL.model_copy(update={"later": True})
    world = write_world(section, 3, tmp_path)
    drugs = {*world.tuning_drugs, *world.test_drugs}
    assert len(world.later_drugs) == len(drugs) / 2
    for folder, own in [(tmp_path, drugs - {*world.later_drugs}), (tmp_path / "later", {*world.later_drugs})]:
        rows = _lines(folder / "papers" / "papers_0000.jsonl.gz")
        in_pmc = {row["corpusid"] for row in rows if row["externalids"]["PubMedCentral"]}
        assert len(in_pmc) == section.drugs * section.papers_per_drug / 4 / 2
        for shard in (folder / "s2orc").glob("*.gz"):
            for record in _lines(shard):
                text = record["content"]["text"] or ""
                assert record["corpusid"] in {row["corpusid"] for row in rows}
                assert all((drug in text) <= (drug in own) for drug in drugs)
