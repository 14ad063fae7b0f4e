"""Several articles in one file: each is read, and what is left out is counted."""

import gzip
from pathlib import Path

import pytest
from tests.corpus.samples import jats, write_tar
from tests.corpus.test_build import check_accounts, read_parts, section
from tests.corpus.test_readers import read

from pmc_llama.corpus.build import build_corpus
from pmc_llama.corpus.paper import Paper

PROLOG = b'<?xml version="1.0"?>'


def articles(*pmcids: int) -> bytes:
    return b"".join(jats(pmcid, doi=f"10.1/{pmcid}").removeprefix(PROLOG) for pmcid in pmcids)


def in_set(inner: bytes, prolog: bytes = b"<!DOCTYPE pmc-articleset SYSTEM 'set.dtd'>") -> bytes:
    return PROLOG + prolog + b"<pmc-articleset>" + inner + b"</pmc-articleset>"


def with_parts(pmcid: int, *parts: str, body: str | None = None) -> bytes:
    return jats(pmcid, body).replace(b"</article>", "".join(parts).encode() + b"</article>")


def part(kind: str, body: str, doi: str = "", **meta: str) -> str:
    identifier = f'<article-id pub-id-type="doi">{doi}</article-id>' if doi else ""
    title = f"<title-group><article-title>{meta.get('title', 'A part')}</article-title></title-group>"
    stub = f"<front-stub>{identifier}{title}{meta.get('more', '')}</front-stub>"
    return f'<sub-article article-type="{kind}">{stub}<body>{body}</body></sub-article>'


def ids(found: list[Paper | str]) -> list[str]:
    return [one if isinstance(one, str) else one.paper_id for one in found]


def test_every_article_of_a_set_is_read(tmp_path: Path) -> None:
    (tmp_path / "set.xml").write_bytes(in_set(articles(1, 2, 3)))
    found = read(tmp_path / "set.xml")
    assert ids(found) == ["pmc:1", "pmc:2", "pmc:3"]
    assert [one.text.count("Words of the body") for one in found if isinstance(one, Paper)] == [1, 1, 1]


def test_characters_by_name_and_own_entities_stay_in_a_set(tmp_path: Path) -> None:
    prolog = b'<!DOCTYPE pmc-articleset SYSTEM "set.dtd" [<!ENTITY firm "Acme">]>'
    both = jats(1, "<p>5 &micro;g</p>").removeprefix(PROLOG) + jats(2, "<p>by &firm;</p>").removeprefix(PROLOG)
    (tmp_path / "set.xml").write_bytes(in_set(both, prolog))
    first, second = read(tmp_path / "set.xml")
    assert isinstance(first, Paper) and isinstance(second, Paper)
    assert "5 µg" in first.text
    assert "by Acme" in second.text


def test_records_of_oai_with_a_namespace(tmp_path: Path) -> None:
    records = "".join(
        "<record><header/><metadata>"
        + jats(pmcid)
        .decode()
        .removeprefix(PROLOG.decode())
        .replace("<article ", '<article xmlns="https://jats/ns" ', 1)
        + "</metadata></record>"
        for pmcid in (8, 9)
    )
    listing = f'<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/"><ListRecords>{records}</ListRecords></OAI-PMH>'
    (tmp_path / "oai.xml").write_text(listing)
    assert ids(read(tmp_path / "oai.xml")) == ["pmc:8", "pmc:9"]


def test_articles_without_any_id_differ_by_name(tmp_path: Path) -> None:
    both = jats(None, "<p>One.</p>", doi="").removeprefix(PROLOG) + jats(None, "<p>Two.</p>", doi="").removeprefix(
        PROLOG
    )
    (tmp_path / "PMC5.xml").write_bytes(in_set(both))
    assert ids(read(tmp_path / "PMC5.xml")) == ["pmc:5", "src:PMC5.xml#1"]  # the name is that of the first


def test_parts_that_are_papers(tmp_path: Path) -> None:
    own = "<permissions><license><p>See creativecommons.org/licenses/by/4.0/</p></license></permissions>"
    parts = [
        part("translation", "<p>In another language.</p>", title="The same"),
        part("abstract", "<p>Short words.</p>", doi="10.1/part", more=own),
        part("reviewer-report", "<p>Minor revision.</p>"),
        part("abstract", "<p> </p>"),
        part("mystery", "<p>What is this?</p>"),
    ]
    (tmp_path / "a.xml").write_bytes(with_parts(7, *parts))
    found = read(tmp_path / "a.xml")
    assert sorted(ids(found)) == ["doi:10.1/part", "empty_sub_article", "other_sub_article", "pmc:7", "src:a.xml#1"]
    whole, translation, abstract = (one for one in found if isinstance(one, Paper))
    assert "another language" not in whole.text and "Minor" not in translation.text
    assert (translation.title, translation.pmcid, translation.part_of) == ("The same", None, 7)
    assert (translation.journal, translation.year, translation.license) == ("J Test", 2011, whole.license)
    assert abstract.license == "CC BY 4.0"


def test_only_letters_leave_the_article_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(with_parts(7, part("decision-letter", "<p>Accept.</p>")))
    (paper,) = read(tmp_path / "a.xml")
    assert isinstance(paper, Paper) and (paper.paper_id, paper.local_id) == ("pmc:7", "src:a.xml")


def test_cover_of_a_meeting_in_a_build(tmp_path: Path) -> None:
    parts = [part("meeting-abstract", f"<p>Abstract {n}.</p>", doi=f"10.1/m{n}") for n in range(3)]
    cover = with_parts(70, *parts, body="").replace(b"<abstract><p>Short.</p></abstract>", b"")
    write_tar(tmp_path / "in.tar.gz", {"PMC70.xml": cover, "PMC71.xml": jats(71, doi="10.1/other")})
    source = {"name": "s", "paths": ["in.tar.gz"]}
    build_corpus(section(source, select={"pmcid": "required"}), tmp_path, tmp_path / "out", workers=1)
    summary = check_accounts(tmp_path / "out")
    assert (summary["in"], summary["kept"], summary["dropped"]) == (5, 4, {"only_sub_articles": 1})
    rows = read_parts(tmp_path / "out")
    assert sorted(rows["paper_id"]) == ["doi:10.1/m0", "doi:10.1/m1", "doi:10.1/m2", "pmc:71"]


def test_set_that_is_cut_off_is_counted(tmp_path: Path) -> None:
    (tmp_path / "set.xml").write_bytes(in_set(articles(1, 2))[:-60])
    assert ids(read(tmp_path / "set.xml")) == ["bad_xml"]


@pytest.mark.parametrize("name", ["efetch.xml", "efetch.xml.gz"])
def test_large_set_is_cut_into_blocks(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pmc_llama.corpus.readers.base.BLOCK_BYTES", 2000)
    content = in_set(articles(*range(1, 21)))
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert len(ids(read(tmp_path / name))) == 20


def test_entities_that_name_others_or_files_are_not_put_in(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("SECRET")
    prolog = (
        f"""<!DOCTYPE article [<!ENTITY f SYSTEM "file://{tmp_path}/secret"><!ENTITY a 'plain'><!ENTITY b "&a;&a;">]>"""
    )
    (tmp_path / "a.xml").write_bytes(jats(1, "<p>One &a; word &f; end</p>", prolog=prolog))
    (paper,) = read(tmp_path / "a.xml")
    assert isinstance(paper, Paper)
    assert "One plain word" in paper.text and "SECRET" not in paper.text
    grown = '<!ENTITY b0 "lol">' + "".join(f'<!ENTITY b{n} "{f"&b{n - 1};" * 10}">' for n in range(1, 12))
    (tmp_path / "a.xml").write_bytes(jats(1, "<p>A &b11; end</p>", prolog=f"<!DOCTYPE article [{grown}]>"))
    assert read(tmp_path / "a.xml") == ["bad_xml"]
