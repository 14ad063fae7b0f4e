"""The audit: finds each kind of damage in a clean text, finds none in a sound one, and as a verb."""

import os
from pathlib import Path

import pytest
from tests.corpus.samples import jats, write_tar
from typer.testing import CliRunner

from pmc_llama.cli import app
from pmc_llama.corpus.audit import Audit, audit_folder, audit_text
from pmc_llama.corpus.audit_source import read_source
from pmc_llama.errors import InputError

REFERENCES = '<back><ref-list><ref id="r1"/><ref id="r2"/></ref-list></back>'
BODY = (
    "<sec><title>Results</title><p>Viral load was 10<sup>5</sup> copies, as H<sub>2</sub>O shows "
    '[<xref ref-type="bibr" rid="r1">1</xref>], <xref rid="r2">[2]</xref>.</p><p>Pain fell (Shin et al., '
    '<xref rid="r2">2006</xref>) a lot.</p><p>Mood rose (BDI, Beck et al., <xref rid="r2">1996</xref>).</p></sec>'
    "<fig><label>Figure 1</label><caption><p>A curve rose.</p></caption>"
    "</fig><sec><title>Disclosure of status</title><p>Most told it.</p></sec>"
    "<sec><title>Funding</title><p>Nobody paid.</p></sec>"
)
CLEAN = (
    "# On E. coli\n\nAims\n\nShort.\n\n## Results\n\nViral load was 10^5 copies, as H2O shows.\n\nPain fell a lot.\n\n"
    "Mood rose (BDI).\n\n## Disclosure of status\n\nMost told it.\n\nFigure 1 A curve rose."
)


def article(body: str) -> bytes:
    return jats(1, body).replace(b"</article>", REFERENCES.encode() + b"</article>")


def kinds(text: str) -> list[str]:
    headed = b"<abstract><sec><title>Aims</title><p>Short.</p></sec></abstract>"
    source = read_source(article(BODY).replace(b"<abstract><p>Short.</p></abstract>", headed))
    assert source is not None
    return [finding.kind for finding in audit_text(source, text)]


@pytest.mark.parametrize(
    ("sound", "damaged", "kind"),
    [
        ("Pain fell a lot.", "Pain fell lot.", "words"),
        ("Pain fell a lot.", "fell Pain a lot.", "words"),
        ("\n\n## Disclosure of status\n\nMost told it.", "", "words"),
        ("A curve rose.", "A curve.", "words"),
        ("load was", "loadwas", "glue"),
        ("A curve rose", "Acurve rose", "glue"),
        ("shows.\n\nPain", "shows. Pain", "lines"),
        ("10^5", "105", "numbers"),
        ("10^5", "10^6", "numbers"),
        ("shows.", "shows,.", "wreckage"),
        ("shows.", "shows –.", "wreckage"),
        ("shows.", "shows..", "wreckage"),
        ("shows.", "shows .", "wreckage"),
        ("Pain fell a lot", "Pain fell ( ) a lot", "wreckage"),
        ("Pain fell a lot", "Pain fell (Shin et al.,) a lot", "wreckage"),
        ("shows.", "shows in.", "wreckage"),
        ("# On E. coli", "# On coli", "words"),
        ("# On E. coli", "# On E. coli1", "words"),
        ("Aims\n\nShort.", "Aims Short.", "lines"),
        ("Mood rose (BDI).", "Mood rose.", "words"),
    ],
)
def test_each_kind_of_damage_is_found(sound: str, damaged: str, kind: str) -> None:
    assert kinds(CLEAN) == []
    assert sound in CLEAN
    assert set(kinds(CLEAN.replace(sound, damaged))) == {kind}


def test_citations_may_stay_and_the_policy_may_drop() -> None:
    kept = CLEAN.replace("shows.", "shows [1], [2].").replace("fell a", "fell (Shin et al., 2006) a")
    assert kinds(kept) == kinds(CLEAN + "\n\n## Funding\n\nNobody paid.") == []


def test_wreckage_of_the_article_itself_is_not_ours() -> None:
    source = read_source(jats(1, "<p>It was so,. And ( ) more..</p>"))
    assert source is not None
    assert audit_text(source, "# On E. coli\n\nShort.\n\nIt was so,. And ( ) more..") == []


def test_folders_and_tarballs_are_read_and_shown_by_publisher(tmp_path: Path) -> None:
    (tmp_path / "one.xml").write_bytes(article("<p>All words are here.</p>"))
    (tmp_path / "three.nxml").write_bytes(b"no xml")
    write_tar(
        tmp_path / "two.tar.gz", {"a/PMC2.xml": article("<p>" + "<b><p>" * 800 + "x" + "</p></b>" * 800 + "</p>")}
    )
    audit = audit_folder(tmp_path)
    assert [(paper.name, [one.kind for one in paper.findings]) for paper in audit.papers] == [
        ("one.xml", []),
        ("a/PMC2.xml", ["unread"]),  # it nests too deep
    ]
    assert len(audit_folder(tmp_path, 1).papers) == 1
    shown = CliRunner().invoke(app, ["corpus", "audit", str(tmp_path)])
    assert (shown.exit_code, "J Test" in shown.output, "too deep" in shown.output) == (1, True, True)
    assert CliRunner().invoke(app, ["corpus", "audit", str(tmp_path), "--papers", "1"]).exit_code == 0


def test_a_folder_without_articles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no JATS article"):
        audit_folder(tmp_path)
    (tmp_path / "cut.tar.gz").write_bytes(b"\x1f\x8b cut")
    with pytest.raises(InputError, match="cannot be read as a tarball"):
        audit_folder(tmp_path)


def test_counts() -> None:
    assert Audit([]).found == 0


@pytest.mark.parametrize(("folder", "papers"), [("pmc_oa", 25), ("pmc_oa_publishers", 75)])
def test_real_papers_come_out_whole(shared_data: Path, folder: str, papers: int) -> None:
    """A slice of the real papers; all of them where PMC_LLAMA_AUDIT_ALL is set."""
    audit = audit_folder(shared_data / folder, None if "PMC_LLAMA_AUDIT_ALL" in os.environ else papers)
    assert len(audit.papers) >= papers
    assert [(paper.name, paper.findings) for paper in audit.papers if paper.findings] == []
