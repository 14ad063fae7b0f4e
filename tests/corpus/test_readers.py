"""Readers: every format to the same Paper, every quirk handled, nothing lost in silence."""

import json
import random
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.corpus.samples import jats, s2orc_row, write_lines, write_tar

from pmc_llama.corpus.paper import Paper, Skip, Span, parse_doi, parse_number, parse_pmcid, tidy_spans
from pmc_llama.corpus.readers import base
from pmc_llama.corpus.readers.base import Options
from pmc_llama.corpus.readers.jats import read_article
from pmc_llama.corpus.readers.sniff import reader_for
from pmc_llama.corpus.storage import SNIFF_BYTES, InputFile
from pmc_llama.errors import InputError


def read(path: Path, stated: str = "auto", **options: object) -> list[Paper | str]:
    """All papers of a file; the reason in place of those that were skipped."""
    reader, wanted = reader_for(str(path), stated), Options("src", **options)
    found: list[Paper | str] = []
    for block in reader.blocks(InputFile(str(path)), wanted):
        found += [reason for reason, count in block.dropped.items() for _ in range(count)]
        for record in block.records:
            try:
                found.append(reader.paper(record, wanted))
            except Skip as skip:
                found.append(skip.reason)
    return found


def texts(paper: Paper, kind: str) -> list[str]:
    return [paper.text[span.start : span.end] for span in paper.spans if span.kind == kind]


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("PMC1950857", 1950857),
        ("9798118", 9798118),
        (9798118, 9798118),
        ("pmc9798118.2", 9798118),
        (" PMC0012 ", 12),
        (None, None),
        ("", None),
        ("0", None),
        ("PMC", None),
        ("12a", None),
        ("٣", None),
    ],
)
def test_pmcid_spellings(value: str | int | None, number: int | None) -> None:
    assert parse_pmcid(value) == number


def test_other_ids() -> None:
    assert parse_doi("https://doi.org/10.7554/eLife.02444") == "10.7554/elife.02444"
    assert parse_doi("n/a") is None
    assert [parse_number(value) for value in ("0", "25406953", 7, None, "x", "9" * 30)] == [
        None,
        25406953,
        7,
        None,
        None,
        None,
    ]


@given(st.lists(st.tuples(st.sampled_from(["paragraph", "bibref"]), st.integers(-5, 30), st.integers(-5, 30))))
def test_spans_are_sorted_distinct_and_inside(raw: list[tuple[str, int, int]]) -> None:
    spans, invalid = tidy_spans([Span(*item) for item in raw * 2], text_length=20)
    assert len(set(spans)) == len(spans)
    assert len(spans) + invalid == len(set(raw))
    assert [span.start for span in spans] == sorted(span.start for span in spans)
    assert all(0 <= span.start < span.end <= 20 for span in spans)


def test_offsets_are_code_points(tmp_path: Path) -> None:
    text = "😀 β-blocker\n\nΩ stays."
    row = s2orc_row(1, pmcid="1", text=text, title=[(2, 11)], paragraph=[(13, 21)])
    (paper,) = read(write_lines(tmp_path / "a.jsonl", [row]))
    assert isinstance(paper, Paper)
    assert (paper.title, texts(paper, "paragraph")) == ("β-blocker", ["Ω stays."])


@pytest.mark.parametrize("pmcid", [None, "77", 77, "PMC77"])
@pytest.mark.parametrize("order", ["usual", "other"])
def test_rows_dropped_by_their_first_bytes_are_those_dropped_when_read_whole(
    tmp_path: Path, pmcid: object, order: str
) -> None:
    row = s2orc_row(5, pmcid=pmcid, doi='10.1/}"pubmedcentral":"9"{')
    row = row if order == "usual" else {"content": row["content"], **row}
    path = write_lines(tmp_path / "a.jsonl.gz", [row])

    def refuse(corpusid: int | None, own: int | None) -> str | None:
        assert corpusid == 5
        return "no_pmcid" if own is None else None

    (found,) = read(path, quick=refuse)
    assert (found == "no_pmcid") if pmcid is None else (isinstance(found, Paper) and found.pmcid == 77)


def test_lines_are_whole_wherever_blocks_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_lines(tmp_path / "a.jsonl.gz", [s2orc_row(n, pmcid=str(n)) for n in range(1, 40)])
    whole = read(path)
    monkeypatch.setattr(base, "BLOCK_BYTES", 777)
    monkeypatch.setattr(base, "READ_BYTES", 1000)
    assert read(path) == whole
    assert [paper.pmcid for paper in whole if isinstance(paper, Paper)] == list(range(1, 40))


def test_endless_line_is_no_record_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "READ_BYTES", 1000)
    monkeypatch.setattr(base, "MAX_RECORD_BYTES", 5000)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "' + b"a" * 9000)
    with pytest.raises(InputError, match="a line is longer than"):
        read(path)


def test_jats_article() -> None:
    body = """<p>Intro cites <xref ref-type="bibr" rid="b1">[1]</xref>.</p>
    <sec><label>2.</label><title>Methods</title><p>We used<list><list-item><p>first</p></list-item></list>and more.</p>
    <sec><title>Deep</title><p>See <xref ref-type="fig" rid="f1">Figure 1</xref>.<fig id="f1"><label>Figure 1</label>
    <caption><title>A curve.</title><p>It rises.</p></caption></fig></p><p>x<disp-formula><tex-math>x^2</tex-math>
    </disp-formula>y</p></sec></sec>"""
    paper = read_article(jats(101, body).replace(b"</article>", b"<back><ref-list><ref id='b1'><label>1</label>"
      b"<mixed-citation>Doe J. A book.</mixed-citation></ref></ref-list></back><sub-article><front-stub/><body>"
      b"<p>Review letter</p></body></sub-article></article>"))  # fmt: skip
    assert (paper.pmcid, paper.doi, paper.year, paper.journal) == (101, "10.1/x", 2011, "J Test")
    assert (paper.title, paper.license) == ("On E. coli", "CC BY-NC 3.0")
    assert texts(paper, "paragraph") == ["Intro cites [1].", "We used", "first", "and more.", "See Figure 1.", "x y"]
    headers = [span for span in paper.spans if span.kind == "sectionheader"]
    assert [(paper.text[s.start : s.end], s.number, s.depth) for s in headers] == [
        ("Methods", "2", 1),
        ("Deep", None, 2),
    ]
    mentions = [span for span in paper.spans if span.kind in ("bibref", "figureref")]
    assert [(s.ref, paper.text[s.start : s.end]) for s in mentions] == [("b1", "[1]"), ("f1", "Figure 1")]
    assert texts(paper, "figurecaption") == ["A curve. It rises."]
    assert texts(paper, "bibentry") == ["1 Doe J. A book."]
    assert "Review letter" not in paper.text


def test_an_annotation_that_cannot_be_read_costs_only_itself(tmp_path: Path) -> None:
    row = s2orc_row(1, title=[(0, 5)], paragraph="no json", bibref="[{}]")
    row["content"]["annotations"] |= {"abstract": [{"start": 0}, {"start": 0, "end": 5}], "author": 7}
    (paper,) = read(write_lines(tmp_path / "a.jsonl", [row]))
    assert isinstance(paper, Paper)
    assert (texts(paper, "title"), paper.invalid_spans) == (["Title"], 4)


@pytest.mark.parametrize("corpusid", ["-1", "9" * 25, '"x"', "1.5"])
def test_a_corpus_id_that_fits_no_column_is_a_bad_record(tmp_path: Path, corpusid: str) -> None:
    line = json.dumps(s2orc_row(1, pmcid="7")).replace('"corpusid": 1', f'"corpusid": {corpusid}')
    assert read(write_lines(tmp_path / "a.jsonl", [line.encode()])) == ["bad_json"]


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        (b"<article><p></article>", "bad_xml"),
        (b"", "bad_xml"),
        (b"<html><body/></html>", "no_article"),
        (jats(1, "<sec>" * 1500 + "<p>x</p>" + "</sec>" * 1500), "too_deep"),
    ],
)
def test_xml_that_is_no_article(xml: bytes, reason: str) -> None:
    with pytest.raises(Skip, match=reason):
        read_article(xml)


def test_entities_open_no_files_and_do_not_grow(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("SECRET")
    prolog = f'<!DOCTYPE article [<!ENTITY f SYSTEM "file://{tmp_path}/secret"><!ENTITY g "words">]>'
    assert "SECRET" not in read_article(jats(1, "<p>A &f; &g; end</p>", prolog=prolog)).text
    bomb = '<!ENTITY b0 "lol">' + "".join(f'<!ENTITY b{n} "{f"&b{n - 1};" * 10}">' for n in range(1, 12))
    with pytest.raises(Skip, match="bad_xml"):
        read_article(jats(1, "<p>A &b11; end</p>", prolog=f"<!DOCTYPE article [{bomb}]>"))


def test_deep_mathml_is_read_as_its_words() -> None:
    math = "<math xmlns='http://www.w3.org/1998/Math/MathML'>" + "<mrow>" * 120 + "x" + "</mrow>" * 120 + "</math>"
    assert texts(read_article(jats(1, f"<p>a {math} b</p>")), "paragraph") == ["a x b"]


def test_plain_formats(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": "One."}, {"text": "Two.", "pmcid": "PMC5"}, {"id": 3, "text": ""}, b"[]", {"text": 7}]
    found = read(write_lines(tmp_path / "a.jsonl", rows))
    assert [paper if isinstance(paper, str) else paper.paper_id for paper in found] == [
        "src:a", "pmc:5", "no_text", "bad_json", "bad_json",
    ]  # fmt: skip
    pl.DataFrame({"id": [1, 2], "text": ["One.", None], "other": [0.1, 0.2]}).write_parquet(tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet")
    assert [paper if isinstance(paper, str) else (paper.paper_id, paper.text) for paper in found] == [
        ("src:1", "One."),
        "no_text",
    ]
    (tmp_path / "a.txt").write_bytes(b"= A =\nbody\n= B =\r\nmore\n")
    found = read(tmp_path / "a.txt", split_on="= . =")
    assert [(p.paper_id, p.text) for p in found if isinstance(p, Paper)] == [
        ("src:a.txt#0", "= A =\nbody"),
        ("src:a.txt#1", "= B =\r\nmore"),
    ]
    assert [p.text for p in read(tmp_path / "a.txt") if isinstance(p, Paper)] == ["= A =\nbody\n= B =\r\nmore"]
    (tmp_path / "b.txt").write_bytes(b"\xff bad")
    assert read(tmp_path / "b.txt", "text") == ["bad_utf8"]


def test_format_is_found_by_content(tmp_path: Path) -> None:
    write_tar(tmp_path / "odd.name", {"PMC1.xml": jats(1)})
    write_lines(tmp_path / "rows.gz", [s2orc_row(1)])
    (tmp_path / "one").write_bytes(b"\xef\xbb\xbf\n" + jats(1))
    assert [reader_for(str(tmp_path / name), "auto").name for name in ("odd.name", "rows.gz", "one")] == [
        "jats",
        "s2orc_v1",
        "jats",
    ]
    with pytest.raises(InputError, match="the recipe says format parquet, but the content is s2orc_v1"):
        reader_for(str(tmp_path / "rows.gz"), "parquet")
    (tmp_path / "unknown").write_bytes(b"\0\1\2")
    with pytest.raises(InputError, match="not recognised"):
        reader_for(str(tmp_path / "unknown"), "auto")


@pytest.mark.parametrize("cut", [5, 30, 500])
def test_cut_tarball_is_a_failed_input(tmp_path: Path, cut: int) -> None:
    path = write_tar(tmp_path / "x.tar.gz", {f"PMC{n}.xml": jats(n, f"<p>{'word ' * n}</p>") for n in range(1, 200)})
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InputError, match=r"x\.tar\.gz"):
        read(path)


def test_bits_flipped_deep_inside_a_gzip_file_are_a_failed_input(tmp_path: Path) -> None:
    noise = random.Random(1)
    rows = [s2orc_row(n, text=f"Some words, then {noise.randbytes(20).hex()}") for n in range(4000)]
    path = write_lines(tmp_path / "x.jsonl.gz", rows)
    whole = path.read_bytes()
    assert len(whole) > SNIFF_BYTES + 40_000  # damage lies beyond what sniffing reads
    for place in range(SNIFF_BYTES + 100, len(whole), 8000):
        path.write_bytes(whole[:place] + noise.randbytes(20) + whole[place + 20 :])
        with pytest.raises(InputError, match=r"x\.jsonl\.gz"):
            read(path)


def test_empty_file_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(b"")
    assert read(tmp_path / "a.jsonl.gz") == ["empty_file"]
    assert read(write_lines(tmp_path / "b.jsonl.gz", [])) == ["empty_file"]


def test_official_records(shared_data: Path) -> None:
    papers = read(shared_data / "s2orc_official_sample" / "s2orc-sample.jsonl")
    assert len(papers) == 8
    for paper in papers:
        assert isinstance(paper, Paper)
        assert paper.title
        assert paper.invalid_spans == 0
        assert len(texts(paper, "paragraph")) > 0
    raw = [json.loads(line) for line in (shared_data / "s2orc_official_sample" / "s2orc-sample.jsonl").open()]
    listed = sum(len(json.loads(row["content"]["annotations"]["paragraph"])) for row in raw)
    distinct = sum(len(texts(paper, "paragraph")) for paper in papers if isinstance(paper, Paper))
    assert listed > 2 * distinct  # each span stands there two or three times
