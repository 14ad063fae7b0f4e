"""The walk through the words of a JATS article: headings, paragraphs, and what stands in their lines."""

import html
import re
from typing import Any

from lxml import etree

from pmc_llama.corpus.readers.jats_inline import exponent_of, formula_text, has_formula
from pmc_llama.corpus.readers.jats_tags import (
    BLOCKS,
    FLOATS,
    FOOTNOTES,
    GAPS,
    LABELLED,
    LABELS,
    LINES,
    MARKED,
    PARAGRAPHS,
    SEPARATE,
    SILENT,
)
from pmc_llama.corpus.readers.text_builder import TextBuilder

MATHML = "{http://www.w3.org/1998/Math/MathML}"
ABSTRACT_NAMES = {"abstract", "summary"}
XREF_KINDS = {"bibr": "bibref", "fig": "figureref", "table": "tableref"}
MARK = re.compile(r"[\[(]?\s*(?:\d{1,3}|[^\W\d]|[^\w\s]{1,2})\s*[\])]?")
"""The raised letter, number or sign of a footnote or an author."""


SECTIONS = {"sec", "body", "abstract"}
APART = BLOCKS | PARAGRAPHS | LABELS | SILENT | {"title"}
"""What does not stand in the line of the words around it."""


class Walk:
    """Writes what it meets to `out`; figures and tables wait in `floats`."""

    def __init__(self, article: Any) -> None:
        self.article = article
        self.references = {
            one.get("id") for one in article.iter("ref", "mixed-citation", "element-citation", "citation")
        }
        self.notes = {one.get("id") for one in article.iter(*MARKED)}
        self.out = TextBuilder()
        self.floats: list[Any] = []
        self.label = ""  # of the list item whose text comes next
        self.boxes = 0  # around the block that is read
        self.kind = "paragraph"  # figurecaption where the heading before it says nothing of it
        self.in_abstract = self.in_title = False

    def blocks(self, parent: Any, depth: int) -> None:
        """Headers and paragraphs under `parent`, in document order.

        Headings in boxes are lines, as the text behind a box does not stand under them.
        """
        inside, kind = parent.tag, self.kind
        if inside in SECTIONS and has_own_text(parent):
            _into_paragraphs(parent)
        self.boxes += inside == "boxed-text"
        if inside in ("floats-group", "floats-wrap") or (inside == "boxed-text" and _floats_among_files(parent)):
            self.kind = "figurecaption"
        for child in parent:
            tag = child.tag
            if tag == "title" and inside == "abstract" and words_of(child).strip(" .:").lower() in ABSTRACT_NAMES:
                continue
            if tag == "title" and inside not in LINES and not self.boxes and not self.in_abstract:
                label = parent.find("label")
                self.marked("sectionheader", child, number=folded(label).rstrip(".") or None, depth=max(depth, 1))
            elif tag in LABELS and (tag != "label" or inside in LABELLED):
                self.label = f"{self.label} {words_of(child)}".strip()
            elif tag in FLOATS:
                self._float(child)
            elif tag in PARAGRAPHS or tag == "title" or (tag in BLOCKS and tag != "sec" and has_own_text(child)):
                self.paragraph(child, depth)
            elif isinstance(tag, str) and tag not in SILENT and not tag.startswith(MATHML):
                self.blocks(child, depth + 1 if tag == "sec" else depth)
                self.label = ""
        self.boxes -= inside == "boxed-text"
        self.kind = kind

    def paragraph(self, paragraph: Any, depth: int) -> None:
        """A paragraph. Blocks inside it (lists, quotations) become paragraphs of their own, its rest follows them."""
        self._piece = self.out.length
        if self.label:
            self.out.add(self.label + " ")
            self.label = ""
        self.out.add(paragraph.text)
        for child in paragraph:
            if child.tag in BLOCKS:
                self._end_paragraph()
                self.block(child, depth)
                self._piece = self.out.length
            else:
                self._inline_child(child)
            self.out.add(child.tail)
        self._end_paragraph()

    def block(self, child: Any, depth: int) -> None:
        """A block inside a paragraph."""
        if child.tag in FLOATS:
            self._float(child)
        elif child.tag in PARAGRAPHS:
            self.paragraph(child, depth)
        else:
            self.blocks(child, depth)

    def _float(self, element: Any) -> None:
        """Keep a figure, table or film for later, and what it holds of them; films have words only with a caption."""
        if element.tag != "media" or element.find("caption") is not None:
            self.floats.append(element)
        for inner in element.iterchildren(*FLOATS):
            self._float(inner)

    def _end_paragraph(self) -> None:
        if self.in_abstract:
            self.out.end_line()
            return
        self.out.span(self.kind, self._piece, self.out.length)
        self.out.end_block()

    def marked(self, kind: str, element: Any, number: str | None = None, depth: int | None = None) -> None:
        """The text of an element on a line of its own, as a span."""
        start = self.out.length
        self.inline(element)
        self.out.span(kind, start, self.out.length, number=number, depth=depth)
        self.out.end_block()

    def inline(self, element: Any) -> None:
        """The text of an element without figures, tables and formulas; cross-references become spans."""
        self.out.add(element.text)
        for child in element:
            self._inline_child(child)
            self.out.add(child.tail)

    def _inline_child(self, child: Any) -> None:
        tag = child.tag
        if not isinstance(tag, str):
            if isinstance(child, etree._Entity):
                self.out.add(html.unescape(child.text))
        elif tag == "label" and child.getparent().tag in LABELLED:
            self.out.add(f" {words_of(child)} ")
        elif tag == MATHML + "math" or (tag == "inline-formula" and has_formula(child)):
            self.out.formula(formula_text(child))
        elif tag in SILENT or tag in FLOATS or tag.startswith(MATHML):
            if tag in FLOATS:
                self._float(child)
            if tag in GAPS:
                self.out.gap()
        else:
            self._words(child)

    def _words(self, child: Any) -> None:
        """The words of an element inside a line, set apart where it is a block."""
        tag = child.tag
        if self.in_title and tag == "sup" and self._is_only_marks(child):
            return
        exponent = exponent_of(child, self.out.tail) if tag == "sup" else None
        if exponent is not None:
            if exponent[0] == "^":
                self.out.close_up()
            self.out.add(exponent)
        elif tag in SEPARATE:
            self.out.add(" ")
            self.inline(child)
            self.out.add(" ")
        elif tag == "xref":
            self._mention(child)
        else:
            self.inline(child)
        if exponent is not None and (child.tail or "")[:1].isdigit() and self.out.tail(1).isdigit():
            self.out.add(" ")

    def _mention(self, xref: Any) -> None:
        """A cross-reference is a citation when it points at a reference, whatever type it states.

        Marks of footnotes and authors count as citations too: they lead out of the text and go as those do. A title
        has neither.
        """
        targets = (xref.get("rid") or "").split()
        leads_out = self._leads_out(xref, targets)
        if self.in_title and leads_out:
            return
        start = self.out.length
        self.inline(xref)
        kind = "bibref" if leads_out else XREF_KINDS.get(xref.get("ref-type", ""))
        if kind is not None:
            self.out.span(kind, start, self.out.length, ref=targets[0] if targets else None)

    def _leads_out(self, xref: Any, targets: list[str]) -> bool:
        is_mark = xref.get("ref-type") in FOOTNOTES or not self.notes.isdisjoint(targets)
        is_mark = is_mark and MARK.fullmatch(folded(xref)) is not None
        return is_mark or not self.references.isdisjoint(targets)

    def _is_only_marks(self, sup: Any) -> bool:
        """Whether a superscript holds nothing but marks and commas between them."""
        between = "".join([sup.text or "", *(child.tail or "" for child in sup)])
        marks = [child.tag == "xref" and self._leads_out(child, (child.get("rid") or "").split()) for child in sup]
        return bool(marks) and all(marks) and not between.strip(" ,;\n")


def words_of(element: Any) -> str:
    """The text of an element as it is set, `F<sc>ig</sc>` being one word; empty for None."""
    return "" if element is None else " ".join("".join(map(str, element.itertext())).split())


def has_own_text(element: Any) -> bool:
    """Whether words stand straight in an element, before or between its parts."""
    return any(words and words.strip() for words in (element.text, *(child.tail for child in element)))


def _into_paragraphs(section: Any) -> None:
    """Put words that stand straight in a section, with what is in their lines, into paragraphs.

    JATS does not allow such words; some articles have them all the same.
    """
    children: list[Any] = list(section)
    run = etree.Element("p")
    run.text, section.text = section.text, None
    position = 0
    for child in [*children, None]:
        in_line = child is not None and child.tag not in APART
        if not in_line:
            if words_of(run):
                section.insert(position, run)
                position += 1
            run = etree.Element("p")
        if child is None:
            return
        if in_line:
            run.append(child)  # its tail goes with it
        else:
            position += 1
            run.text, child.tail = child.tail, None


def _floats_among_files(box: Any) -> bool:
    """Whether a box floats in the section of supplementary files, as boxes for readers do."""
    return box.get("position") == "float" and box.getparent().find("supplementary-material") is not None


def folded(element: Any) -> str:
    """All text of an element, white space folded; empty for None."""
    return "" if element is None else " ".join(" ".join(map(str, element.itertext())).split())
