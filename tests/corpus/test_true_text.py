"""The clean text is the paper's: citations, cross-references, lists and exponents of articles, read and cleaned."""

import re
from typing import Any

import pytest
from tests.corpus.samples import jats

from pmc_llama.corpus.clean import Cleaner
from pmc_llama.corpus.paper import Paper, Span, tidy_spans
from pmc_llama.corpus.pieces import Piece
from pmc_llama.corpus.readers.jats import read_article
from pmc_llama.corpus.rules import rejoin
from pmc_llama.recipe.corpus import CleanSection

REFERENCES = "<back><ref-list>" + "".join(f'<ref id="r{n}"/>' for n in range(1, 10)) + "</ref-list></back>"


def body(xml: str, **section: Any) -> str:
    """The clean text of an article's body; `{4}` in `xml` is a citation `4` of type `bibr`, `{[4]}` one of `[4]`."""
    cited = re.sub(r"\{([^\d{}\\]*)(\d+)([^{}]*)\}", r'<xref ref-type="bibr" rid="r1">\1\2\3</xref>', xml)
    article = jats(1, cited).replace(b"</article>", REFERENCES.encode() + b"</article>")
    text, removed, _ = Cleaner(CleanSection.model_validate(section)).text(paper := read_article(article))
    assert len(paper.text) == len(text) + sum(removed.values())
    return text.partition("Short.\n\n")[2]


@pytest.mark.parametrize(
    ("source", "clean"),
    [
        ("It was told before {[1]}, {[2]}, {[3]}. Men left.", "It was told before. Men left."),
        ("At that level {[1]}–{[3]}. But no.", "At that level. But no."),
        ("Pain is felt [{5}],[{6}]. So.", "Pain is felt. So."),
        ("Pain is felt ([{5}], [{6}]). So.", "Pain is felt. So."),
        ("Pain (dose 5 mg [{5}]) [{6}] fell.", "Pain (dose 5 mg) fell."),
        ("It fell (Brown et al., {2003}; Shin et al., {2006}).", "It fell."),
        ("It fell (see Brown and Shin, {2003}, {2004a}; Shin, 2001).", "It fell."),
        ("It fell (Table 2; Brown et al., {2003}).", "It fell (Table 2)."),
        ("It fell (Davis, {1983}, p. 113).", "It fell."),
        ("It fell (in a form of Davis et al., {1983}).", "It fell (in a form of Davis et al., 1983)."),
        ("We did as in {[8]}. It helped.", "We did as in [8]. It helped."),
        ("We did as told by<sup>{8}</sup>. It helped.", "We did as told by [8]. It helped."),
        ("As in<sup>{8}</sup> children, it fell.", "As in children, it fell."),
        ("As shown by Lee et al. [{7}]. In contrast, no.", "As shown by Lee et al. [7]. In contrast, no."),
        ("As shown by Lee et al. [{7}], it fell.", "As shown by Lee et al., it fell."),
        ("Lee et al. [{7}] say so.", "Lee et al. say so."),
        ("As shown by Lee et al.<sup>{7}</sup>. It fell.", "As shown by Lee et al. [7]. It fell."),
        ("Brown et al. {2003} say so.", "Brown et al. 2003 say so."),
        ("[{4}] showed a fall.", "[4] showed a fall."),
        ("It fell. [{4}] But it rose.", "It fell. But it rose."),
        ("It fell<sup>{4},{5}</sup>, and<sup>{6}–9</sup> rose.", "It fell, and rose."),
        ("It fell<sup>{4}</sup>again.", "It fell again."),
        ("It fell, [{4}], again: [{5}].", "It fell, again."),
        ("It fell ([{4}] and Table 2; for details see [{5}]).", "It fell ([4] and Table 2)."),
        ("It fell (Table 2 and [{4}]).", "It fell (Table 2 and [4])."),
        ("It fell [{1}-3, 7] (95% CI [0, 5]).", "It fell (95% CI [0, 5])."),
        ("The risk ([{4}], and two more) is 4.", "The risk (and two more) is 4."),
        ("Is it so? {[4]}.", "Is it so?"),
        ("It fell [[{4}]. But it rose.", "It fell. But it rose."),
        ("It fell (told by Lee et al.<sup>{4}</sup>).", "It fell (told by Lee et al. [4])."),
        ("It fell ({4}, \u200e{5}).\u200e", "It fell."),
        ("It fell (BDI-II, Beck et al., {1996}; BAI: Lee, {1990}).", "It fell (BDI-II; BAI)."),
        ("It fell (OLAF<sup>{3}</sup>: {Lee 2004}).", "It fell (OLAF)."),
        ("It fell (VR: Lee et al., {2010}; for reviews see: Shin, {2001}).", "It fell (VR)."),
        ('It fell (WHO, {1996}; Lee, <xref rid="r1">n.d.</xref>).', "It fell."),
        ("In a bank (Human Genome Database [{4}]) it fell.", "In a bank (Human Genome Database) it fell."),
        ("It fell {[4]}—or not {[5]}-like/so {[6]}/so.", "It fell—or not-like/so/so."),
        ("It fell; see also {[4]}. So.", "It fell; see also [4]. So."),
        ("For reviews see: {[4]}, {[5]}. So.", "For reviews see: [4], [5]. So."),
    ],
)
def test_citations_leave_no_wreckage(source: str, clean: str) -> None:
    assert body(f"<p>{source}</p>") == clean


def test_tags_stand_once_for_a_run() -> None:
    tagged = body("<p>As in {[8]}, {[9]} and (Shin, {2006}).</p>", citations="tag")
    assert tagged == "As in [citation]."
    assert body("<p>As in {[8]}, [{9}].</p>", citations="keep") == "As in [8], [9]."


def test_brackets_that_belong_to_a_citation_close() -> None:
    text = "So (see Doe et al. (2001)) it is."
    start = text.index("Doe")
    spans = [Span("paragraph", 0, len(text)), Span("bibref", start, start + len("Doe et al. (2001)"))]
    paper = Paper(text=text, spans=tidy_spans(spans, len(text))[0])
    assert Cleaner(CleanSection()).text(paper)[0] == "So it is."


def test_what_points_at_a_reference_is_a_citation() -> None:
    xml = (
        '<p>Some studies<xref ref-type="ref" rid="r4">4</xref>, <xref ref-type="other" rid="r5 r6">5</xref> saw '
        '<xref ref-type="fig" rid="f1">Fig. 1</xref> [<xref rid="r1">1</xref>] and <xref rid="s1">chapter 2</xref>.</p>'
    )
    assert body(xml) == "Some studies saw Fig. 1 and chapter 2."


def test_items_and_run_in_headings_keep_their_lines_and_labels() -> None:
    xml = (
        "<p>Not taken were:<list><list-item><label>1.</label><p>Allergy</p></list-item><list-item>"
        "<label>2.</label><p>Pregnancy</p><list><list-item><p>of any month</p></list-item></list></list-item>"
        "<list-item><label>3.</label></list-item></list></p><p><italic>Outcome</italic></p>"
        "<p>Death (in</p><p>30 days) counted.</p>"
    )
    lines = "Not taken were:\n\n1. Allergy\n\n2. Pregnancy\n\nof any month\n\nOutcome\n\nDeath (in\n\n30 days) counted."
    assert body(xml) == lines
    assert body(xml, off=["rejoin"]) == lines


def test_page_breaks_are_repaired_where_paragraphs_are_not_true() -> None:
    def joined(*texts: str) -> list[str]:
        return [piece.text for piece in rejoin([Piece("paragraph", text, 0) for text in texts])]

    assert joined("The patients", "were ill.") == ["The patients were ill."]
    assert joined("“I felt better.”", "Most patients agreed.") == ["“I felt better.”", "Most patients agreed."]
    assert joined("患者は良くなった。", "We saw it.") == ["患者は良くなった。", "We saw it."]


@pytest.mark.parametrize(
    ("source", "clean"),
    [
        ("150 × 10<sup>9</sup>/L", "150 × 10^9/L"),
        ("2.5 × 10<sup>−4</sup> M", "2.5 × 10^-4 M"),
        ("2x10<sup>6 </sup>cells", "2x10^6 cells"),
        ("3 × 10 <sup>9</sup>/L", "3 × 10^9/L"),
        ("10 <sup>9</sup>/L of 10 <sup>−3</sup> M, 10 <sup>5</sup> cells", "10^9/L of 10^-3 M, 10^5 cells"),
        ("10 <sup>18</sup>F scans of 10 <sup>99m</sup>Tc", "10 18F scans of 10 99mTc"),
        ("platelets (x10<sup>9</sup>/L), 2.5x10<sup>4</sup>", "platelets (x10^9/L), 2.5x10^4"),
        ("2<sup>−ΔΔC<sub>T</sub></sup>, 10<sup>(−1/slope)</sup>", "2^-ΔΔCT, 10^(-1/slope)"),
        ("10<sup>n</sup>, 2<sup>k−1</sup>, e<sup>−2</sup>, e<sup>−kt</sup>", "10^n, 2^k-1, e^-2, e^-kt"),
        ("an e<sup>−</sup> and 16<sup>n</sup>, m<sup>n</sup>", "an e− and 16n, mn"),
        ("(1.5)<sup>2</sup> of (2010)<sup>2</sup>", "(1.5)^2 of (2010)2"),
        ("2<sup>1</sup>/<sub>2</sub> years", "2 1/2 years"),
        ("10<sup>3</sup>5 and P2<sub>1</sub>2", "10^3 5 and P212"),
        ("10<sup>−</sup><sup>3</sup>", "10^-3"),
        ("10<sup><italic>5</italic></sup>–10<sup>6</sup>", "10^5–10^6"),
        ("12.5<sup>2</sup>", "12.5^2"),
        ("at 37<sup>0/7</sup> weeks", "at 37 0/7 weeks"),
        ("H<sub>2</sub>O, Ca<sup>2+</sup>, CD4<sup>+</sup>", "H2O, Ca2+, CD4+"),
        ("cm<sup>2</sup>, m<sup>-1</sup>, the <sup>14</sup>C test", "cm2, m-1, the 14C test"),
        ("the 1<sup>st</sup> of 12<sup>a</sup>", "the 1st of 12a"),
        ("in 2010<sup>{4}</sup>.", "in 2010."),
        ('in 2010<xref ref-type="bibr" rid="r4"><sup>4</sup></xref>.', "in 2010."),
    ],
)
def test_exponents_keep_their_value(source: str, clean: str) -> None:
    assert body(f"<p>{source}</p>") == clean


MATH = '<inline-formula><mml:math xmlns:mml="http://www.w3.org/1998/Math/MathML">{}</mml:math></inline-formula>'


@pytest.mark.parametrize(
    ("source", "clean"),
    [
        (
            "mean (" + MATH.format("<mml:msup><mml:mi>σ</mml:mi><mml:mn>2</mml:mn></mml:msup>") + ") of x",
            "mean (σ^2) of x",
        ),
        (
            "so "
            + MATH.format(
                "<mml:mi>x</mml:mi><mml:mo>=</mml:mo><mml:mfrac><mml:mi>a</mml:mi><mml:mi>b</mml:mi></mml:mfrac>"
            )
            + ". Then",
            "so x = a/b. Then",
        ),
        (
            "so <inline-formula><alternatives><tex-math>\\documentclass{a}\\begin{document}$$x_1$$\\end{document}"
            "</tex-math><graphic/></alternatives></inline-formula> rose",
            "so x_1 rose",
        ),
        ("where" + MATH.format("<mml:mi>σ</mml:mi>") + "is CO" + MATH.format("<mml:mn>3</mml:mn>"), "where σ is CO3"),
        ("the " + MATH.format("<mml:mi>j</mml:mi>") + "th", "the jth"),
        ("so <inline-formula><italic>r</italic> = 2</inline-formula>", "so r = 2"),
        ("is given by <inline-formula><inline-graphic/></inline-formula>.", "is given by [formula]."),
        ("it is<disp-formula><tex-math>x</tex-math></disp-formula>where y", "it is where y"),
        ("it is <disp-formula><label>(1)</label></disp-formula>, where y", "it is, where y"),
        ("from T0 (<inline-graphic/>) to [<inline-graphic/>] T1 (<inline-graphic/>).", "from T0 to T1."),
        ("code (<inline-graphic/>, men; <inline-graphic/>, women)", "code (men; women)"),
        ("<inline-graphic/>, men; <inline-graphic/>. Next", "men. Next"),
        ("shown. <inline-graphic/>, <inline-graphic/>, means", "shown. means"),
        (
            "to "
            + MATH.format(
                "<mml:mo>[</mml:mo><mml:mover><mml:mi>t</mml:mi><mml:mo>→</mml:mo></mml:mover><mml:mo>]</mml:mo>"
            )
            + " of "
            + MATH.format("<mml:msup><mml:mi>a</mml:mi><mml:mo>′</mml:mo></mml:msup>"),
            "to [t\u20d7] of a′",
        ),
        ('PubMed<xref ref-type="fn" rid="n1"><sup>1</sup></xref> was searched', "PubMed was searched"),
    ],
)
def test_formulas_and_marks_in_a_line(source: str, clean: str) -> None:
    assert body(f"<p>{source}</p>") == clean


@pytest.mark.parametrize(
    ("heading", "is_back"),
    [
        ("Acknowledgements", True),
        ("5. Funding Sources", True),
        ("IV. Funding", True),
        ("Funding/Support", True),
        ("Author contribution statement", True),
        ("Conflict of interest and funding", True),
        ("Competing interests:", True),
        ("Availability of data and materials", True),
        ("Supplementary Material S1", True),
        ("Appendix A: Search terms", True),
        ("Appendix 1. Search terms", True),
        ("Additional file 1: Figure S1", True),
        ("Supplementary materials, figures and tables", False),
        ("Supplementary materials figures and tables", True),
        ("Supplementary information on diet", False),
        ("References and recommended reading", True),
        ("Disclosure of HIV status to partners", False),
        ("Funding of health care in Ghana", False),
        ("References of blood pressure in children", False),
        ("Appendicitis", False),
        ("Contributors to low back pain", False),
    ],
)
def test_back_matter_is_the_whole_heading(heading: str, is_back: bool) -> None:
    text = body(f"<p>First.</p><sec><title>{heading}</title><p>Words.</p></sec>")
    assert ("Words." not in text) is is_back
