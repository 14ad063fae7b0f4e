import csv
import io

import pytest

from pmc_llama import escape


@pytest.mark.parametrize("formula", ["=1+1", "+A1", "-A1+B2", "@SUM(A1)", "\t=1", '=HYPERLINK("http://x")'])
def test_formulas_are_texts(formula: str) -> None:
    out = io.StringIO()
    csv.writer(out).writerow([escape.csv_cell(formula)])
    assert next(csv.reader(io.StringIO(out.getvalue()))) == ["'" + formula]


def test_tables_of_the_report_hold_no_formulas_and_no_markup() -> None:
    from pmc_llama.report.layout import Column, Row, Table

    table = Table("t", "T", [Column("name", "Name"), Column("x", "X", str)], [Row({"name": "=1+1|<b>", "x": -0.5})])
    assert table.csv() == "name,x\n'=1+1|<b>,-0.5\n"
    assert r"| =1+1\|\<b\> | -0.5 |" in table.markdown()


@pytest.mark.parametrize("value", ["-0.5", "+3", "-1e-5", 3, -2.5, None, "aspirin", ""])
def test_numbers_and_words_stay(value: object) -> None:
    assert escape.csv_cell(value) == value


def test_terminals_and_markup_show_what_is_there() -> None:
    from rich.text import Text

    hostile = "x[/b]y [red]z\x1b[31m\x07\u202eabc"
    assert Text.from_markup(escape.markup(hostile)).plain == "x[/b]y [red]z\ufffd[31m\ufffd\ufffdabc"
    assert escape.terminal("a\tb\nc") == "a\tb\nc"


def test_markdown_and_html_show_what_is_there() -> None:
    assert escape.markdown("a\n# b <img src=x> [c](d) | `e` _f_") == r"a # b \<img src=x\> \[c\](d) \| \`e\` \_f\_"
    assert escape.markdown("# a") == r"\# a" and escape.markdown("1. &lt;") == r"1\. \&lt;"
    assert escape.markdown("zero_shot: +4.9 (1.2 to 3.4) & more") == "zero_shot: +4.9 (1.2 to 3.4) & more"
    assert escape.in_html('<b title="x">&\'') == "&lt;b title=&quot;x&quot;&gt;&amp;&#x27;"


def test_addresses_lose_what_may_be_secret() -> None:
    said = "read https://me:pw@host/a.jsonl?X-Amz-Signature=abc#t and s3://bucket/a b"
    assert escape.without_secrets(said) == "read https://host/a.jsonl and s3://bucket/a b"
    assert escape.without_secrets("plain/path?.txt and a@b.org") == "plain/path?.txt and a@b.org"
