"""Blocks, boxes, notes, titles and abstracts of JATS articles, read and cleaned."""

import pytest
from tests.corpus.samples import jats

from pmc_llama.corpus.clean import Cleaner
from pmc_llama.corpus.readers.jats import read_article
from pmc_llama.recipe.corpus import CleanSection


def body(xml: str) -> str:
    """The clean text of an article's body."""
    return Cleaner(CleanSection()).text(read_article(jats(1, xml)))[0].partition("Short.\n\n")[2]


@pytest.mark.parametrize(
    ("xml", "lines"),
    [
        (
            "<def-list><title>Abbreviations</title><def-item><term>LOD</term><def><p>Limit of detection</p></def>"
            "</def-item><def-item><term>HR</term><def>Hazard ratio</def></def-item></def-list>",
            ["Abbreviations", "LOD Limit of detection", "HR Hazard ratio"],
        ),
        (
            "<disp-quote><p>It fell.</p><attrib>Participant 5</attrib></disp-quote>"
            "<speech><speaker>She:</speaker><p>Why?</p></speech><preformat>x = 1</preformat>",
            ["It fell.", "Participant 5", "She: Why?", "x = 1"],
        ),
        (
            "<sec><title>Straight</title>One <italic>very</italic> loose text.<p>Then so.</p>Another."
            "<list><list-item><p>An item</p></list-item></list><bold>Bold</bold> <sup>2</sup></sec>",
            ["## Straight", "One very loose text.", "Then so.", "Another.", "An item", "Bold 2"],
        ),
        ("<p>Take<preformat>x = 1</preformat>or <code>y</code> next.</p>", ["Take", "x = 1", "or y next."]),
        (
            "<verse-group><title>A rhyme</title><verse-line>Red is</verse-line><verse-line>blood</verse-line>"
            "</verse-group>",
            ["A rhyme", "Red is", "blood"],
        ),
        (
            "<statement><label>Theorem 1</label><title>Bound</title><p>It holds.</p></statement>"
            "<p>So<statement><label>Lemma 2.</label><p>It is.</p></statement></p>",
            ["Theorem 1 Bound", "It holds.", "So", "Lemma 2. It is."],
        ),
        (
            "<list><list-item><label>•</label>bare words</list-item></list><sig-block><sig>A. Doe</sig></sig-block>",
            ["• bare words", "A. Doe"],
        ),
        (
            "<p>As<array><tbody><tr><td>dose</td><td>5 mg</td></tr>"
            "<tr><td>days</td><td>3</td></tr></tbody></array></p>",
            ["As", "dose 5 mg", "days 3"],
        ),
        (
            "<boxed-text><label>Box 1</label><caption><title>Points</title></caption>"
            "<list><list-item><p>One</p></list-item>"
            "</list></boxed-text><p>Behind it.</p>",
            ["Box 1 Points", "One", "Behind it."],
        ),
        (
            "<fig><label>F<sc>ig</sc>. 1.</label><caption><p>A curve<sup><xref ref-type='table-fn' rid='n1'>a</xref>,"
            "<xref ref-type='table-fn' rid='n2'>b</xref></sup>.</p></caption></fig>",
            ["Fig. 1. A curve."],
        ),
        ("<fig><label>Fig. 2</label><caption><p>. A curve.</p></caption></fig>", ["Fig. 2. A curve."]),
        ("<fig><label>Figure 2</label><p>Words of a legend.</p><graphic/></fig>", ["Figure 2 Words of a legend."]),
        (
            "<table-wrap><label>Table 1</label><caption><p>Doses.</p></caption>"
            "<list><list-item><label>a.</label><p>x</p>"
            "</list-item></list></table-wrap>",
            ["Table 1 Doses. a. x"],
        ),
        (
            "<fig-group><label>Figure 3</label><caption><p>Two curves.</p></caption>"
            "<fig><label>A</label><caption><p>One."
            "</p></caption></fig></fig-group><p>Rest.</p>"
            "<media><label>Video 1</label><caption><p>It beats.</p></caption>"
            "</media><media/>",
            ["Figure 3 Two curves.", "Rest.", "A One.", "Video 1 It beats."],
        ),
    ],
)
def test_blocks_without_paragraphs_are_read(xml: str, lines: list[str]) -> None:
    assert body(xml) == "\n\n".join(lines)


def test_headings_in_a_box_are_lines_and_the_text_behind_it_stands_under_the_section() -> None:
    box = "<boxed-text><sec><title>Funding</title><p>In it.</p></sec><title>More</title><p>Too.</p></boxed-text>"
    text = body(f"<sec><title>Results</title><p>Before.{box}</p><p>Behind.</p></sec>")
    assert text == "## Results\n\nBefore.\n\nFunding\n\nIn it.\n\nMore\n\nToo.\n\nBehind."


def test_floats_behind_the_back_matter_and_boxes_among_files_stay() -> None:
    files = "<supplementary-material><caption><p>File.</p></caption></supplementary-material>"
    box = '<boxed-text position="float"><sec><title>Summary</title><p>For patients.</p></sec></boxed-text>'
    back = f"<sec><title>Supporting Information</title><p>Not this.</p>{files}{box}</sec>"
    group = "<table-wrap-group><label>Table 2</label><caption><title>Doses</title></caption></table-wrap-group>"
    xml = jats(1, f"<sec><title>Results</title><p>It fell.</p></sec>{back}")
    xml = xml.replace(b"</article>", f"<floats-group>{group}</floats-group></article>".encode())
    text = Cleaner(CleanSection()).text(read_article(xml))[0].partition("Short.\n\n")[2]
    assert text.split("\n\n") == ["## Results", "It fell.", "Summary", "For patients.", "Table 2 Doses"]


@pytest.mark.parametrize(
    ("source", "clean"),
    [
        ('database<xref ref-type="fn" rid="n1"><sup>1</sup></xref> is', "database is"),
        ('database<xref ref-type="other" rid="n1">12</xref> is', "database is"),
        ('database<xref rid="n1">[3]</xref> is', "database is"),
        ('database<sup><xref ref-type="author-notes" rid="n1">*</xref></sup> is', "database is"),
        ('as <xref ref-type="fn" rid="n1">Footnote 3</xref> says', "as Footnote 3 says"),
    ],
)
def test_marks_of_notes_go(source: str, clean: str) -> None:
    assert body(f"<p>The {source}.<fn id='n1'><p>Not here.</p></fn></p>") == f"The {clean}."


def front(title: str = "<article-title>T</article-title>", abstracts: str = "") -> str:
    xml = jats(1, "<p>Body.</p>").replace(b"<abstract><p>Short.</p></abstract>", abstracts.encode())
    whole = xml.replace(b"<article-title>On <italic>E. coli</italic></article-title>", title.encode())
    return Cleaner(CleanSection()).text(read_article(whole))[0].removesuffix("\n\nBody.")


@pytest.mark.parametrize(
    ("title", "line"),
    [
        ('<article-title>Of x<xref ref-type="fn" rid="n1">*</xref></article-title><fn id="n1"/>', "Of x"),
        (
            '<article-title>Of x<sup><xref ref-type="author-notes" rid="a">1</xref>,'
            '<xref ref-type="author-notes" rid="b">'
            "2</xref></sup></article-title>",
            "Of x",
        ),
        ("<article-title>Of x</article-title><subtitle>A trial</subtitle>", "Of x: A trial"),
        ("<article-title>Is it x?</article-title><subtitle>A trial</subtitle>", "Is it x? A trial"),
        ('<article-title>Of <xref ref-type="fig" rid="f">Fig. 1</xref></article-title>', "Of Fig. 1"),
    ],
)
def test_titles_have_their_subtitle_and_no_marks(title: str, line: str) -> None:
    assert front(title) == f"# {line}"


def test_headings_and_items_of_an_abstract_are_lines() -> None:
    xml = (
        "<abstract><title>Abstract</title><sec><title>Background</title><p>After menopause<sup>"
        '<xref ref-type="fn" rid="n">1</xref></sup>.</p></sec><sec><title>Aims</title><list><list-item>'
        "<label>1.</label>"
        "<p>One</p></list-item></list><p>In <list><list-item><p>two</p></list-item></list>ways.</p></sec></abstract>"
    )
    lines = ["# T", "Background", "After menopause.", "Aims", "1. One", "In", "two", "ways."]
    assert front(abstracts=xml) == "\n\n".join(lines)
    assert front(abstracts="<abstract>Bare words.</abstract>") == "# T\n\nBare words."


@pytest.mark.parametrize(
    ("types", "taken"),
    [
        (["graphical", "plain-language-summary", "main"], ["main"]),
        (["lay-summary", "section"], ["section"]),
        (["summary", None], ["None"]),
        (["web-summary", "key-findings"], ["key-findings"]),
        (["precis", "author-highlights"], ["precis"]),
        (["graphical", "teaser"], []),
    ],
)
def test_the_main_abstract_is_taken(types: list[str | None], taken: list[str]) -> None:
    kinds = [f' abstract-type="{kind}"' if kind else "" for kind in types]
    xml = "".join(f"<abstract{kind}><p>{name}</p></abstract>" for kind, name in zip(kinds, types, strict=True))
    assert front(abstracts=xml) == "\n\n".join(["# T", *taken])


def test_of_abstracts_in_several_languages_the_articles_is_taken() -> None:
    xml = '<abstract xml:lang="en"><p>Pain.</p></abstract><abstract xml:lang="es"><p>Dolor.</p></abstract>'
    whole = jats(1).replace(b"<abstract><p>Short.</p></abstract>", xml.encode())
    assert "Dolor" in Cleaner(CleanSection()).text(read_article(whole))[0]
    spanish = whole.replace(b"<article ", b'<article xml:lang="es" ')
    assert "Pain" not in Cleaner(CleanSection()).text(read_article(spanish))[0]
