"""Cleaning: each rule on small texts, the profiles on a whole paper, and the same paper from two formats."""

import math
import re
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmc_llama.corpus.clean import Cleaner
from pmc_llama.corpus.join import PaperMap, read_papers_shard, write_paper_map
from pmc_llama.corpus.paper import Paper, Span, tidy_spans
from pmc_llama.corpus.pieces import Piece
from pmc_llama.corpus.readers.base import Options
from pmc_llama.corpus.readers.sniff import reader_for
from pmc_llama.corpus.rules import rejoin, tidy_text, without_back_matter, without_empty_headers
from pmc_llama.corpus.storage import InputFile
from pmc_llama.corpus.word_counts import WordCounts, without_rare_words
from pmc_llama.errors import InputError
from pmc_llama.recipe.corpus import CleanSection


def marked(text: str, kind: str = "paragraph") -> Paper:
    """A one-paragraph paper whose citations stand between « and »."""
    spans, plain = [], ""
    for part in re.split("(«.*?»)", text):
        words = part.strip("«»") if part.startswith("«") else part
        if part.startswith("«"):
            spans.append(Span("bibref", len(plain), len(plain) + len(words), "b0"))
        plain += words
    return Paper(text=plain, spans=tidy_spans([Span(kind, 0, len(plain)), *spans], len(plain))[0])


def cleaned(paper: Paper, **section: Any) -> str:
    text, removed, _ = Cleaner(CleanSection.model_validate(section)).text(paper)
    assert len(paper.text) == len(text) + sum(removed.values())
    return text


@pytest.mark.parametrize(
    ("text", "dropped"),
    [
        ("It helps «[1]».", "It helps."),
        ("It helps [«1»].", "It helps."),
        ("It helps «[4,» «5]» a lot.", "It helps a lot."),
        ("It helps [«3»,«4»-«9»], or not.", "It helps, or not."),
        ("It helps («Doe 2001»; «Roe 2002»).", "It helps."),
        ("It helps (see «Doe 2001» and «Roe 2002»).", "It helps."),
        ("It helps (reviewed in «[7]»).", "It helps."),
        ("It helps«1,2».", "It helps."),
        ("«Doe et al.» («2001») say so.", "Doe et al. say so."),
        ("As (shown by «Doe») says.", "As (shown by Doe) says."),
        ("No citation (P < 0.05) [sic].", "No citation (P < 0.05) [sic]."),
        ("Dose (5 mg; «[1]») given.", "Dose (5 mg) given."),
    ],
)
def test_citations_go_with_their_brackets(text: str, dropped: str) -> None:
    assert cleaned(marked(text)) == dropped


def test_citations_kept_and_tagged() -> None:
    assert cleaned(marked("It helps [«1»,«2»]."), citations="keep") == "It helps [1,2]."
    assert cleaned(marked("It helps [«1»,«2»]."), citations="tag") == "It helps [citation]."


@given(st.text(alphabet="ab1 ([])«».,;\ue000-", max_size=60))
def test_cleaning_any_brackets_accounts_for_every_character(text: str) -> None:
    paper = marked(text)
    for mode in ("drop", "tag", "keep"):
        assert "\ue000" not in cleaned(paper, citations=mode) or mode == "keep" or "\ue000" in text


@given(st.text(max_size=80), st.data())
def test_all_profiles_account_for_every_character(text: str, data: st.DataObject) -> None:
    kinds = [
        "title",
        "abstract",
        "paragraph",
        "sectionheader",
        "bibref",
        "figure",
        "figurecaption",
        "bibentry",
        "formula",
    ]
    point = st.integers(-2, len(text) + 2)
    raw = data.draw(
        st.lists(st.tuples(st.sampled_from(kinds), point, point, st.sampled_from([None, "b0"])), max_size=12)
    )
    spans, _ = tidy_spans([Span(*item) for item in raw], len(text))
    for profile in ("raw", "clean", "meditron", "pes2o"):
        cleaned(Paper(text=text, spans=spans), profile=profile)


def pieces(*items: tuple[str, str] | tuple[str, str, int]) -> list[Piece]:
    return [Piece(item[0], item[1], 0, item[2] if len(item) > 2 else None) for item in items]


def shown(found: list[Piece]) -> list[str]:
    return [piece.text for piece in found]


def test_back_matter_goes_with_what_is_below_it() -> None:
    found = pieces(
        *(("header", "Results", 1), ("paragraph", "r"), ("header", "5. Acknowledgements", 1), ("paragraph", "thanks")),
        *(("header", "Funding sources", 2), ("paragraph", "money"), ("header", "Discussion", 1), ("paragraph", "d")),
        *(
            ("header", "Competing interests"),
            ("paragraph", "none"),
            ("header", "Authors’ contributions"),
            ("paragraph", "all"),
        ),
        *(
            ("header", "Conflicts of interest in medical research and how they are seen by patients today"),
            ("paragraph", "x"),
        ),
        ("caption", "Figure 1"),
    )
    assert shown(without_back_matter(found)) == [
        *("Results", "r", "Discussion", "d"),
        *("Conflicts of interest in medical research and how they are seen by patients today", "x", "Figure 1"),
    ]


def test_paragraphs_cut_by_a_page_are_joined() -> None:
    found = pieces(
        *(("paragraph", "The patients"), ("paragraph", "were ill."), ("paragraph", "All (of the.")),
        *(
            ("paragraph", "group) left."),
            ("header", "B"),
            ("paragraph", "No stop"),
            ("caption", "c"),
            ("paragraph", "d e"),
        ),
    )
    assert shown(rejoin(found)) == ["The patients were ill.", "All (of the. group) left.", "B", "No stop", "c", "d e"]


def test_characters() -> None:
    found = pieces(("paragraph", "eff\u00adect of beta-\nblockers\u200b\x07 e\u0301\u00a0 x\n\n"), ("paragraph", " \n"))
    assert shown(tidy_text(found)) == ["effect of betablockers é x"]


def test_headers_with_nothing_below_go() -> None:
    found = pieces(
        *(("header", "A", 1), ("header", "B", 2), ("paragraph", "p"), ("header", "C", 2), ("header", "D", 1)),
        *(("paragraph", "q"), ("header", "E"), ("header", "F"), ("paragraph", "r"), ("header", "G"), ("caption", "c")),
    )
    assert shown(without_empty_headers(found)) == ["A", "B", "p", "D", "q", "E", "F", "r", "c"]


TEXT = (
    "A title\nAbstract here.\n2.1 Methods used\nWe gave it [1] as in Fig. 1.\nThanks.\nDoe J. A good book on it. 2001\n"
    "Figure 1\nA rising curve. More."
)


def spans_of(**kinds: tuple[str, str | None]) -> tuple[Span, ...]:
    found = []
    for kind, (words, ref) in kinds.items():
        start = TEXT.index(words)
        found.append(Span(kind, start, start + len(words), ref, number="2.1" if kind == "sectionheader" else None))
    return tidy_spans(found, len(TEXT))[0]


PAPER = Paper(
    text=TEXT,
    spans=spans_of(
        title=("A title", None),
        abstract=("Abstract here.", None),
        sectionheader=("Methods used", None),
        paragraph=("We gave it [1] as in Fig. 1.", None),
        bibref=("[1]", "b0"),
        figureref=("Fig. 1", "fig_0"),
        bibentry=("Doe J. A good book on it. 2001", "b0"),
        bibtitle=("A good book on it", None),
        bibauthorlastname=("Doe", None),
        figure=("Figure 1\nA rising curve. More.", "fig_0"),
        figurecaption=("A rising curve. More.", None),
    ),
)


def test_profiles_on_one_paper() -> None:
    assert cleaned(PAPER, profile="raw") == TEXT
    assert cleaned(PAPER) == (
        "# A title\n\nAbstract here.\n\n### Methods used\n\nWe gave it as in Fig. 1.\n\nFigure 1 A rising curve. More."
    )
    assert cleaned(PAPER, off=["citations", "characters"]).endswith(
        "We gave it [1] as in Fig. 1.\n\nFigure 1\nA rising curve. More."
    )
    assert cleaned(PAPER, profile="meditron") == (
        "# A title\n\nAbstract here.\n\n# Methods used\n\nWe gave it [bib_ref] A good book on it, Doe [/bib_ref] as in "
        "[fig_ref] Fig. 1: A rising curve [/fig_ref] .\n\n[fig] Figure 1 A rising curve. More. [/fig]"
    )
    assert cleaned(PAPER, profile="pes2o") == "A title\n\nAbstract here.\n\nMethods used\nWe gave it [1] as in Fig. 1."


@pytest.mark.parametrize(
    ("words", "paragraphs", "year", "reason"),
    [
        (["word", "other", "third", "more", *map(str, range(20))] * 30, 6, 1999, None),
        (["word", "other"] * 100, 6, None, "too_few_words"),
        (["word"] * 600, 6, None, "top_word"),
        ([str(n) for n in range(600)] + ["12"] * 5, 6, None, "top_word"),
        (["word", "other", "third", "more", *map(str, range(20))] * 30, 6, 1950, "year"),
        (["word", "other", "third", "more", *map(str, range(20))] * 30, 3, None, "too_few_paragraphs"),
    ],
)
def test_pes2o_gates(words: list[str], paragraphs: int, year: int | None, reason: str | None) -> None:
    size = -(-len(words) // paragraphs)
    chunks = [" ".join(words[start : start + size]) + "." for start in range(0, len(words), size)]
    text = "\n".join(chunks)
    spans = [
        Span(
            "paragraph",
            text.index(chunk, sum(len(c) + 1 for c in chunks[:n])),
            sum(len(c) + 1 for c in chunks[: n + 1]) - 1,
        )
        for n, chunk in enumerate(chunks)
    ]
    paper = Paper(text=text, spans=tuple(spans), year=year)
    assert Cleaner(CleanSection(profile="pes2o")).text(paper)[2] == reason


@pytest.fixture
def counts(tmp_path: Path) -> Path:
    path = tmp_path / "unigram_freq.csv"
    path.write_text("word,count\nthe,1000000000\n" + "".join(f"w{number},1000\n" for number in range(1000)))
    return path


def test_paragraphs_of_rare_words_go_where_counts_are_given(counts: Path) -> None:
    # log2(1e9 + 1e6) is about 29.9: `the` has log2 probability 0, a `w` -19.9, an unknown word log2(sqrt(1001)+1)-29.9
    table = WordCounts(str(counts))
    assert table.mean_log2("The the the") == pytest.approx(-math.log2(1.001), abs=1e-9)
    in_between = (math.log2(1000) + math.log2(1001**0.5 + 1)) / 2 - math.log2(1.001e9)
    assert table.mean_log2("w1 zzz") == pytest.approx(in_between)
    assert table.mean_log2("") == 0
    found = pieces(("abstract", "zz yy"), ("paragraph", "zz yy xx"), ("paragraph", "the w1"), ("header", "qq"))
    section = CleanSection(profile="pes2o", word_counts=str(counts))
    assert shown(without_rare_words(found, section)) == ["zz yy", "the w1", "qq"]
    assert without_rare_words(found, CleanSection(profile="pes2o")) == found


def test_word_counts_belong_to_pes2o_and_must_be_counts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only profile 'pes2o' uses it"):
        CleanSection(word_counts="x.csv")
    (tmp_path / "x.csv").write_text("hello\nworld\n")
    with pytest.raises(InputError, match=r"x\.csv: no line is of the form word,count"):
        WordCounts(str(tmp_path / "x.csv"))


def clean_texts(paths: list[Path], papers: PaperMap) -> dict[int, str]:
    cleaner = Cleaner(CleanSection())
    found = {}
    for path in paths:
        reader, options = reader_for(str(path), "auto"), Options("x", kinds=cleaner.kinds)
        for block in reader.blocks(InputFile(str(path)), options):
            for record in block.records[::4]:
                paper = reader.paper(record, options)
                pmcid = paper.pmcid or papers.find(paper.corpusid).pmcid
                if pmcid is not None:
                    found[pmcid] = cleaner.text(paper)[0]
    return found


@pytest.mark.slow
def test_a_paper_cleans_to_the_same_text_from_jats_and_s2orc(shared_data: Path, tmp_path: Path) -> None:
    write_paper_map(
        [read_papers_shard((str(shared_data / "s2orc_v1" / "papers_0000.jsonl.gz"), False))], tmp_path / "m.npy"
    )
    papers = PaperMap(tmp_path / "m.npy")
    first = clean_texts(sorted((shared_data / "s2orc_v1").glob("s2orc_*")), papers)
    second = clean_texts(sorted((shared_data / "pmc_oa").glob("*.tar.gz")), papers)
    tokens = re.compile(r"\w+|[^\w\s]")
    similarities = []
    for pmcid in first.keys() & second.keys():
        a, b = Counter(tokens.findall(first[pmcid])), Counter(tokens.findall(second[pmcid]))
        similarities.append(2 * (a & b).total() / (a.total() + b.total()))
    assert len(similarities) > 15
    assert statistics.median(similarities) >= 0.97


def test_joiners_stay_where_they_shape_a_word() -> None:
    found = pieces(
        (
            "paragraph",
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 zero\u200cwidth\u200d \u0915\u094d\u200d\u0937 \u200b.",
        )
    )
    assert shown(tidy_text(found)) == [
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 zerowidth \u0915\u094d\u200d\u0937 ."
    ]


def test_a_soft_hyphen_before_a_number_is_a_dash() -> None:
    found = pieces(("paragraph", "Take 5\u00ad10 mg (\u00ad2 to \u00ad1) of a treat\u00adment a1\u00ad."))
    assert shown(tidy_text(found)) == ["Take 5-10 mg (-2 to -1) of a treatment a1."]
