"""S2ORC v2 and its predecessors, PMC's folders of one article, BioC."""

import json
import shutil
from pathlib import Path

import pytest
from tests.corpus.samples import jats, write_lines, write_tar
from tests.corpus.test_readers import read, texts

from pmc_llama.corpus.paper import Paper

V2 = {
    "corpusid": 5,
    "title": "On drugs",
    "openaccessinfo": {"externalids": {"MAG": "1", "PubMedCentral": "77", "DOI": "10.1/AB"}, "license": "CCBY"},
}


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize("attributes_inside", [True, False])
def test_s2orc_v2(tmp_path: Path, as_text: bool, attributes_inside: bool) -> None:
    attributes = {"attributes": {"ref_id": "b0"}} if attributes_inside else {"ref_id": "b0"}
    lists = {
        "section_header": json.dumps([{"start": 0, "end": 7, "attributes": {"n": "2.1"}}]),
        "paragraph": json.dumps([{"start": 8, "end": 20}, {"start": 8, "end": 20}, {"start": 8, "end": 9999}]),
        "bib_ref": json.dumps([{"start": 16, "end": 19} | attributes]),
    }
    body = {"text": "Methods\nWe gave [1].", "annotations": json.dumps(lists) if as_text else lists}
    entry = {"text": "Doe 2001", "annotations": {"bib_entry": json.dumps([{"start": 0, "end": 8}])}}
    row = V2 | {"body": body, "bibliography": entry}
    (paper,) = read(write_lines(tmp_path / "a.jsonl.gz", [row]))
    assert isinstance(paper, Paper)
    assert (paper.paper_id, paper.doi, paper.title) == ("pmc:77", "10.1/ab", "On drugs")
    assert (texts(paper, "sectionheader"), texts(paper, "paragraph")) == (["Methods"], ["We gave [1]."])
    assert [(span.ref, paper.text[span.start : span.end]) for span in paper.spans if span.kind == "bibref"] == [
        ("b0", "[1]")
    ]
    assert texts(paper, "bibentry") == ["Doe 2001"]
    assert paper.invalid_spans == 1


def test_s2orc_v2_without_body(tmp_path: Path) -> None:
    rows = [V2 | {"body": None}, V2 | {"body": {"text": "x", "annotations": "no json"}}, {"body": 7}]
    first, second, third = read(write_lines(tmp_path / "a.jsonl", rows), "s2orc_v2")
    assert (first, third) == ("no_text", "bad_json")
    assert isinstance(second, Paper)
    assert second.invalid_spans == 1


def test_all_legacy_parses(shared_data: Path) -> None:
    found = {path.name: read(path) for path in sorted((shared_data / "s2orc_legacy" / "parses").glob("*.json"))}
    assert len(found) == 8
    for papers in found.values():
        (paper,) = papers
        assert isinstance(paper, Paper)
        assert len(texts(paper, "paragraph")) > 10
        assert paper.invalid_spans == 0
        for span in paper.spans:
            if span.kind == "bibref":
                assert paper.text[span.start : span.end].strip()
    (first,) = found["20190928_10002293.json"]
    assert isinstance(first, Paper)
    assert (first.pmcid, first.pmid, first.year) == (5371592, 28424663, 2017)
    assert texts(first, "bibref")[:2] == ["(Siqueira et al., 2000;", "Nair, 2006)"]


def test_release_of_2020_is_joined_shard_by_shard(shared_data: Path, tmp_path: Path) -> None:
    legacy = shared_data / "s2orc_legacy"
    (tmp_path / "metadata").mkdir()
    shutil.copy(legacy / "metadata" / "sample.jsonl", tmp_path / "metadata" / "metadata_3.jsonl")
    lines = [path.read_bytes().strip() for path in sorted((legacy / "parses").glob("20200705_*.json"))]
    shard = write_lines(tmp_path / "pdf_parses" / "pdf_parses_3.jsonl", lines)
    papers = [paper for paper in read(shard) if isinstance(paper, Paper)]
    assert len(papers) == 3
    (paper,) = [paper for paper in papers if paper.corpusid == 18980463]
    assert (paper.pmcid, paper.pmid, paper.year) == (1950857, 17785526, 2007)
    assert paper.fields == ("Biology", "Medicine")
    headers = texts(paper, "sectionheader")
    assert len(headers) == len([name for name, before in zip(headers, ["", *headers], strict=False) if name != before])


def test_folder_of_one_article(tmp_path: Path) -> None:
    folder = tmp_path / "PMC10009416.2"
    folder.mkdir()
    (folder / "PMC10009416.2.xml").write_bytes(jats(None, doi=""))
    metadata = {
        "pmcid": "PMC10009416",
        "version": 2,
        "pmid": 36,
        "doi": "10.1/New",
        "is_retracted": True,
        "is_manuscript": True,
        "is_historical_ocr": False,
        "license_code": "TDM",
    }
    (folder / "PMC10009416.2.json").write_text(json.dumps(metadata))
    (paper,) = read(folder / "PMC10009416.2.xml")
    assert isinstance(paper, Paper)
    assert (paper.pmcid, paper.pmid, paper.doi, paper.license) == (10009416, 36, "10.1/new", "TDM")
    assert (paper.retracted, paper.manuscript, paper.ocr, paper.version % 10) == (True, True, False, 2)


def test_file_list_gives_version_and_licence(tmp_path: Path) -> None:
    header = "Article File,Article Citation,AccessionID,LastUpdated,PMID,License,Retracted\n"
    path = write_tar(
        tmp_path / "x.tar.gz",
        {"a/PMC7.xml": jats(7)},
        header + "a/PMC7.xml,,PMC7,2026-06-18 00:00:00,12,CC BY-NC-ND,no\n",
    )
    (paper,) = read(path)
    assert isinstance(paper, Paper)
    assert (paper.version, paper.license, paper.pmid) == (20260618, "CC BY-NC-ND", 12)


def test_bioc(tmp_path: Path) -> None:
    passages = [
        (
            {"section_type": "TITLE", "type": "front", "article-id_pmc": "9", "article-id_pmid": "8", "year": "2011"},
            "On drugs",
        ),
        ({"section_type": "ABSTRACT", "type": "abstract"}, "Short."),
        ({"section_type": "METHODS", "type": "title_2"}, "Methods"),
        ({"section_type": "METHODS", "type": "paragraph"}, "We gave  two\u2009pills."),
        ({"section_type": "FIG", "type": "fig_caption"}, "A curve."),
        ({"section_type": "ACK_FUND", "type": "paragraph"}, "Thanks."),
        ({"section_type": "REF", "type": "ref"}, "Doe 2001"),
    ]
    document = {"id": "PMC9", "infons": {}, "passages": [{"offset": 0, "infons": i, "text": t} for i, t in passages]}
    collection = {"source": "PMC", "infons": {}, "documents": [document, {"id": "PMC10", "passages": []}]}
    (tmp_path / "a.json").write_text(json.dumps([collection]))
    paper, reason = read(tmp_path / "a.json")
    assert reason == "no_text"
    assert isinstance(paper, Paper)
    assert (paper.pmcid, paper.pmid, paper.year, paper.title) == (9, 8, 2011, "On drugs")
    assert texts(paper, "paragraph") == ["We gave  two\u2009pills."]
    assert [(s.kind, s.depth) for s in paper.spans if s.kind == "sectionheader"] == [("sectionheader", 2)]
    assert texts(paper, "backmatter") == ["Thanks."]


def test_bioc_tarball(tmp_path: Path) -> None:
    def collection(number: int) -> dict:
        passages = [{"infons": {"section_type": "INTRO", "type": "paragraph"}, "text": f"Words of {number}."}]
        return {"infons": {}, "documents": [{"id": str(number), "infons": {}, "passages": passages}]}

    members = {
        "PMC000XXXXX/PMC13.xml": json.dumps(collection(13)).encode(),
        "PMC000XXXXX/PMC14.json": json.dumps([collection(14), collection(15)]).encode(),
        "PMC000XXXXX/../PMC16.json": json.dumps(collection(16)).encode(),
        "PMC000XXXXX/PMC17.json": b"{broken",
        "PMC000XXXXX/README": b"words",
    }
    found = read(write_tar(tmp_path / "PMC000XXXXX_json_unicode.tar.gz", members))
    assert sorted(reason for reason in found if isinstance(reason, str)) == ["bad_json", "unsafe_member_name"]
    papers = [paper for paper in found if isinstance(paper, Paper)]
    assert [(paper.paper_id, paper.text.strip()) for paper in papers] == [
        ("pmc:13", "Words of 13."),
        ("pmc:14", "Words of 14."),
        ("pmc:15", "Words of 15."),
    ]
