"""The newest version of a paper stands, wherever its number or date is given."""

from pathlib import Path

import pytest
from tests.corpus.samples import jats, s2orc_row, write_lines, write_tar
from tests.corpus.test_build import check_accounts, read_parts, section
from tests.corpus.test_readers import read

from pmc_llama.corpus.build import build_corpus
from pmc_llama.corpus.paper import Paper, parse_doi, parse_pmid

HEADER = "Article File,Article Citation,AccessionID,{column},PMID,License,Retracted\n"
VERSION_ID = '<article-id pub-id-type="pmcid-ver">PMC7.{}</article-id>'


def versioned(text: str, meta: str = "", pmcid: int | None = 7) -> bytes:
    return jats(pmcid, f"<p>{text}</p>", doi="").replace(b"<title-group>", f"{meta}<title-group>".encode(), 1)


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def kept(tmp_path: Path) -> str:
    source = {"name": "s", "paths": ["in/*"]}
    build_corpus(section(source), tmp_path, tmp_path / "out", workers=1)
    assert check_accounts(tmp_path / "out")["dropped"] == {"duplicate_pmcid": 1}
    (text,) = read_parts(tmp_path / "out")["text"]
    return str(text)


@pytest.mark.parametrize("column", ["LastUpdated", "LastUpdated (YYYY-MM-DD HH:MM:SS)"])
def test_dates_of_file_lists(tmp_path: Path, column: str) -> None:
    for name, date, text in (("a", "2023-01-02 03:04:05", "Old."), ("b", "2024-01-31 03:04:05", "New.")):
        rows = f'x/PMC7.xml,"J. 2020 (1)",PMC7,{date},12,CC BY,no\n'
        write_tar(
            tmp_path / "in" / f"{name}.tar.gz", {"x/PMC7.xml": versioned(text)}, HEADER.format(column=column) + rows
        )
    assert kept(tmp_path).endswith("New.")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (VERSION_ID.format(1), VERSION_ID.format(10)),
        ("<article-version>1</article-version>", "<article-version>2</article-version>"),
        (
            '<article-version article-version-type="number">1.9</article-version>',
            "<article-version-alternatives><article-version>preprint</article-version>"
            "<article-version>1.10</article-version></article-version-alternatives>",
        ),
    ],
)
def test_versions_in_the_article(tmp_path: Path, first: str, second: str) -> None:
    write(tmp_path / "in" / "a.xml", versioned("Old.", first))
    write(tmp_path / "in" / "b.xml", versioned("New.", second))
    assert kept(tmp_path).endswith("New.")


def test_versions_in_file_names(tmp_path: Path) -> None:
    write(tmp_path / "in" / "PMC7.1.xml", versioned("Old."))
    write(tmp_path / "in" / "PMC7.2.xml", versioned("New."))
    assert kept(tmp_path).endswith("New.")


def test_an_id_with_a_version_is_an_id(tmp_path: Path) -> None:
    meta = '<article-id pub-id-type="pmcid-ver">PMC8.3</article-id>'
    (tmp_path / "a.xml").write_bytes(versioned("Words.", meta, pmcid=None))
    (paper,) = read(tmp_path / "a.xml")
    assert isinstance(paper, Paper)
    assert (paper.pmcid, paper.version) == (8, 3000)


@pytest.mark.parametrize(
    "doi",
    [
        "10.1002/(SICI)10(1997)16:7<741::AID>3.0.CO;2-U",
        "10.1002/(sici)10(1997)16:7&lt;741::aid&gt;3.0.co;2-u",
        "10.1002%2F(SICI)10(1997)16%3A7%3C741%3A%3AAID%3E3.0.CO;2-U",
        "https://www.doi.org/10.1002/(SICI)10(1997)16:7<741::AID>3.0.CO;2-U",
        "doi: 10.1002/(SICI)10(1997)16:7<741::AID>3.0.CO;2-U.",
        "DOI https://dx.doi.org/10.1002/(SICI)10(1997)16:7<741::AID>3.0.CO;2-U",
    ],
)
def test_spellings_of_a_doi_are_joined(tmp_path: Path, doi: str) -> None:
    table = 'DOI,PMID,PMCID\n"10.1002/(SICI)10(1997)16:7<741::AID>3.0.CO;2-U",,PMC5.2\n,77,PMC6\n'
    (tmp_path / "ids.csv").write_text(table)
    rows = [s2orc_row(1, doi=doi), s2orc_row(2)]
    rows[1]["externalids"]["pubmed"] = "PMID:77"
    write_lines(tmp_path / "a.jsonl", rows)
    source = {"name": "s", "paths": ["a.jsonl"], "pmc_ids": "ids.csv"}
    build_corpus(section(source), tmp_path, tmp_path / "out", workers=1)
    assert sorted(read_parts(tmp_path / "out")["paper_id"]) == ["pmc:5", "pmc:6"]


def test_what_is_no_id() -> None:
    assert [parse_doi(value) for value in ("10.1", "11.1/x", "", None, 5, "doi:", "%")] == [None] * 7
    assert [parse_pmid(value) for value in ("PMID: 12", "12", 12, "PMC12", "", None)] == [12, 12, 12, None, None, None]
