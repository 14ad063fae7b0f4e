"""Files as other programs write them: byte order marks, UTF-16, gzip members, JSON over many lines, BioC's forms."""

import codecs
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from tests.corpus.samples import jats, s2orc_row, write_lines, write_tar
from tests.corpus.test_readers import read, texts

from pmc_llama.corpus.paper import Paper
from pmc_llama.corpus.storage import InputFile, as_utf8
from pmc_llama.errors import InputError

ROWS = [{"id": "a", "text": "One α."}, {"id": "b", "text": "Two 😀."}]


def found_texts(path: Path, stated: str = "auto") -> list[str]:
    return [one if isinstance(one, str) else one.text.strip() for one in read(path, stated)]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("zipped", [False, True])
def test_marks_and_encodings_of_lines(tmp_path: Path, encoding: str, zipped: bool) -> None:
    text = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
    content = (codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b"") + text.encode(encoding)
    path = tmp_path / ("a.jsonl.gz" if zipped else "a.jsonl")
    path.write_bytes(gzip.compress(content) if zipped else content)
    assert found_texts(path) == ["One α.", "Two 😀."]


def test_long_text_in_utf_16(tmp_path: Path) -> None:
    words = "Ärzte 😀 " * 40_000  # longer than any buffer, so that characters lie across them
    (tmp_path / "a.txt").write_text(words, encoding="utf-16")
    (found,) = found_texts(tmp_path / "a.txt")
    assert found == words.strip()
    file = InputFile(str(tmp_path / "a.txt"))
    file.read_all()
    assert file.size_bytes == (tmp_path / "a.txt").stat().st_size  # of the bytes as they lie
    assert as_utf8(b"\xff\xfea\0") == b"a"


def test_first_s2orc_record_behind_a_mark_is_selected_by_its_ids(tmp_path: Path) -> None:
    lines = [json.dumps(s2orc_row(number, pmcid=str(number))).encode() for number in (1, 2)]
    (tmp_path / "a.jsonl").write_bytes(codecs.BOM_UTF8 + b"\n".join(lines))
    assert read(tmp_path / "a.jsonl", quick=lambda corpusid, pmcid: f"seen {corpusid}") == ["seen 1", "seen 2"]


@pytest.mark.parametrize("in_tar", [False, True])
def test_xml_in_utf_16(tmp_path: Path, in_tar: bool) -> None:
    article = jats(7, "<p>5 µg — 😀</p>").decode().replace('"1.0"', '"1.0" encoding="UTF-16"').encode("utf-16")
    if in_tar:
        write_tar(tmp_path / "a.tar.gz", {"PMC7.xml": article})
    else:
        (tmp_path / "a.xml").write_bytes(article)
    (paper,) = read(tmp_path / ("a.tar.gz" if in_tar else "a.xml"))
    assert isinstance(paper, Paper)
    assert "5 µg — 😀" in paper.text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("p &amp;lt; 0.05, H&amp;#x003b1; &amp;amp; more", "p < 0.05, Hα & more"),
        ("A &amp; B; Johnson&amp;Johnson", "A & B; Johnson&Johnson"),
        ("Smile &#xD83D;&#xDE00; and &#55357;&#56832; end", "Smile 😀 and 😀 end"),
        ("Cut &#xD83D; here", "Cut \ufffd here"),
        ("The &alpha;-blocker, &ge;5&micro;g in caf&eacute;", "The α-blocker, ≥5µg in café"),
    ],
)
def test_characters_of_xml(tmp_path: Path, body: str, text: str) -> None:
    (tmp_path / "a.xml").write_bytes(jats(7, f"<p>{body}</p>"))
    (paper,) = read(tmp_path / "a.xml")
    assert isinstance(paper, Paper)
    assert texts(paper, "paragraph") == [text]


def test_first_gzip_member_is_empty(tmp_path: Path) -> None:
    lines = [gzip.compress(json.dumps(row).encode() + b"\n") for row in ROWS]
    (tmp_path / "a.jsonl.gz").write_bytes(b"".join([gzip.compress(b""), *lines]))
    assert found_texts(tmp_path / "a.jsonl.gz") == ["One α.", "Two 😀."]
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b"") * 2)
    assert read(tmp_path / "b.jsonl.gz") == ["empty_file"]


def legacy(paper_id: str, words: str) -> dict:
    return {"paper_id": paper_id, "abstract": [], "body_text": [{"text": words, "section": "Results"}]}


@pytest.mark.parametrize("name", ["a.json", "a.json.gz", "a.jsonl.gz"])
@pytest.mark.parametrize("indent", [None, 1, 0])
def test_json_by_lines_and_over_lines(tmp_path: Path, name: str, indent: int | None) -> None:
    def write(*records: Any) -> list[str]:
        content = "\n".join(json.dumps(record, indent=indent) for record in records).encode()
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return found_texts(tmp_path / name)

    assert write(ROWS) == ["One α.", "Two 😀."]
    assert write(ROWS[0]) == ["One α."]
    assert [len(text) for text in write(legacy("1", "A" * 90_000))] == [90_009]
    row = s2orc_row(1, pmcid="1")
    assert write(row) == [row["content"]["text"]]
    if indent is None:
        assert write(*ROWS) == ["One α.", "Two 😀."]
        many = write(legacy("1", "A" * 90_000), legacy("2", "B" * 90_000))  # each longer than what is looked at first
        assert [len(text) for text in many] == [90_009, 90_009]


def test_a_broken_first_line_costs_itself(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", [b'{"id": "a", "text": "cut off', *ROWS])
    assert found_texts(tmp_path / "a.jsonl") == ["bad_json", "One α.", "Two 😀."]


def test_sorted_keys(tmp_path: Path) -> None:
    row = s2orc_row(1, pmcid="1", text="Words. " * 20_000, paragraph=[(7 * n, 7 * n + 6) for n in range(9_000)])
    content = json.dumps(row, sort_keys=True)
    assert content.find('"corpusid"') > 2**16
    (tmp_path / "a.jsonl").write_text(content)
    (paper,) = read(tmp_path / "a.jsonl")
    assert isinstance(paper, Paper)
    assert (paper.corpusid, len(texts(paper, "paragraph"))) == (1, 9_000)


def document(pmcid: int) -> dict:
    passages = [{"infons": {"section_type": "INTRO", "type": "paragraph"}, "text": f"Words of {pmcid}."}]
    return {"id": f"PMC{pmcid}", "infons": {}, "passages": passages}


@pytest.mark.parametrize(
    "records",
    [
        [{"infons": {}, "documents": [document(1), document(2)]}],
        [{"infons": {}, "documents": [document(1)]}, {"infons": {}, "documents": [document(2)]}],
        [[{"infons": {}, "documents": [document(1)]}, {"infons": {}, "documents": [document(2)]}]],
        [document(1), document(2)],
        [[document(1), document(2)]],
        [{"PubTator3": [document(1), document(2)]}],
    ],
)
def test_forms_of_bioc(tmp_path: Path, records: list) -> None:
    write_lines(tmp_path / "a.jsonl", records)
    assert found_texts(tmp_path / "a.jsonl") == ["Words of 1.", "Words of 2."]
    write_tar(tmp_path / "a.tar.gz", {"PMC1.json": "\n".join(map(json.dumps, records)).encode()})
    assert found_texts(tmp_path / "a.tar.gz") == ["Words of 1.", "Words of 2."]
    if len(records) == 1:
        (tmp_path / "b.json").write_text(json.dumps(records[0], indent=2))
        assert found_texts(tmp_path / "b.json") == ["Words of 1.", "Words of 2."]


def test_bioc_without_documents(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", [document(1), b"{broken", {"infons": {}}])
    assert found_texts(tmp_path / "a.jsonl") == ["bad_json", "no_documents", "Words of 1."]
    (tmp_path / "b.json").write_text('{"infons": {}, "documents": [')
    with pytest.raises(InputError, match=r"b\.json: no BioC collection"):
        read(tmp_path / "b.json")


def test_doc2json(tmp_path: Path) -> None:
    def write(name: str, paper_id: str, parse: str, **keys: Any) -> Paper:
        inner = legacy(paper_id, "Body words.") | {"abstract": [{"text": "Short."}]}
        row = {"paper_id": paper_id, "title": "T", "abstract": "Short.", parse: inner, **keys}
        (tmp_path / name).write_text(json.dumps(row, indent=4))
        (paper,) = read(tmp_path / name)
        assert isinstance(paper, Paper)
        assert (texts(paper, "paragraph"), texts(paper, "abstract")) == (["Body words."], ["Short."])
        return paper

    header = {"generated_with": "S2ORC 1.0.0"}
    assert write("PMC7.json", "PMC7", "jats_parse", header=header).paper_id == "pmc:7"
    papers = [write(f"2101.0000{n}.json", "2101", "latex_parse", header=header) for n in (1, 2)]
    assert [paper.paper_id for paper in papers] == ["src:2101.00001.json#1", "src:2101.00002.json#1"]
    assert write("2101.00003v2.json", "2101", "pdf_parse").paper_id == "src:2101.00003v2.json#1"
    assert write("18980463.json", "18980463", "pdf_parse").paper_id == "s2:18980463"
    with_doi = write(
        "2101.00004.json", "2101", "pdf_parse", header=header, identifiers={"doi": "10.1/X", "pubmed_id": "5"}
    )
    assert (with_doi.paper_id, with_doi.doi) == ("pmid:5", "10.1/x")
