"""JATS XML (PMC): from the article's tree to one text with spans, in the order a person reads it."""

import html
from typing import Any

from lxml import etree

from pmc_llama.corpus.paper import Paper, Skip, parse_doi, parse_number, parse_pmcid, tidy_spans
from pmc_llama.corpus.readers.jats_inline import exponent_of, formula_text, has_formula
from pmc_llama.corpus.readers.jats_license import license_of
from pmc_llama.corpus.readers.jats_meta import PMC_TYPES, version_of
from pmc_llama.corpus.readers.jats_tags import BLOCKS, FLOATS, FOOTNOTES, GAPS, LABELS, LINES, PARAGRAPHS, SILENT
from pmc_llama.corpus.readers.text_builder import TextBuilder

MATHML = "{http://www.w3.org/1998/Math/MathML}"
XREF_KINDS = {"bibr": "bibref", "fig": "figureref", "table": "tableref"}
OTHER_ABSTRACTS = {"graphical", "teaser", "toc", "editor", "author-highlights"}
BIB_KINDS = {"article-title": "bibtitle", "surname": "bibauthorlastname"}


def read_article(xml: bytes, kinds: frozenset[str] | None = None) -> Paper:
    """The paper in a JATS file: title, authors, abstract, body, references, figures, tables, in this order.

    `kinds` says which spans are wanted (None: all); others may be missing, the text is always the same.
    Nothing outside the file is ever read: entities are not expanded, DTDs not loaded. Review letters
    (`sub-article`, `response`) and back matter other than references are left out. Raises Skip for XML that is broken,
    that holds no article, or that nests deeper than any article does.
    """
    try:
        root = etree.fromstring(xml, _parser())
        article = _find_article(root)
        return _Article(article, wants_titles=kinds is None or "bibtitle" in kinds).paper()
    except (etree.XMLSyntaxError, ValueError):
        raise Skip("bad_xml") from None
    except RecursionError:
        raise Skip("too_deep") from None


def _parser() -> etree.XMLParser:
    return etree.XMLParser(
        huge_tree=True, resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )


def _find_article(root: Any) -> Any:
    article = next(root.iter("article", "{*}article"), None)
    if article is None:
        raise Skip("no_article")
    if article.tag != "article":
        namespace = article.tag.rpartition("}")[0] + "}"
        for element in article.iter(namespace + "*"):
            element.tag = element.tag.removeprefix(namespace)
    return article


class _Article:
    """One walk over an article."""

    def __init__(self, article: Any, wants_titles: bool) -> None:
        self.article = article
        self.wants_titles = wants_titles
        self.meta = next(article.iter("article-meta"), None)
        self.references = {
            one.get("id") for one in article.iter("ref", "mixed-citation", "element-citation", "citation")
        }
        self.out = TextBuilder()
        self.floats: list[Any] = []
        self.label = ""  # of the list item whose text comes next

    def paper(self) -> Paper:
        paper = Paper(text="", true_paragraphs=True)
        self._front(paper)
        self._abstracts()
        body = self.article.find("body")
        if body is not None:
            self._blocks(body, depth=0)
        for group in self.article.iter("floats-group", "floats-wrap"):
            if not any(parent.tag == "sub-article" for parent in group.iterancestors()):
                self._blocks(group, depth=0)
        self._references()
        self._floats()
        paper.text = self.out.text()
        paper.spans, paper.invalid_spans = tidy_spans(self.out.spans, len(paper.text))
        return paper

    def _front(self, paper: Paper) -> None:
        """Identifiers and metadata of this article (not of those it relates to), then title, venue and authors."""
        meta = self.meta
        if meta is None:
            return
        ids = {element.get("pub-id-type"): (element.text or "").strip() for element in meta.findall("article-id")}
        paper.pmcid = next(filter(None, (parse_pmcid(ids.get(kind)) for kind in PMC_TYPES)), None)
        paper.version = version_of(meta)
        paper.pmid, paper.doi = parse_number(ids.get("pmid")), parse_doi(ids.get("doi"))
        years = [parse_number(year.text) for year in meta.findall("pub-date/year")]
        paper.year = min((year for year in years if year is not None and 1600 < year < 2200), default=None)
        paper.journal = folded(self.article.find(".//journal-title")) or None
        paper.license = license_of(meta)
        title = meta.find("title-group/article-title")
        if title is not None:
            self._span("title", title)
            paper.title = self.out.last()
        self.out.block(" ".join(filter(None, [paper.journal, str(paper.year or "")])), "venue")
        for name in meta.iterfind("contrib-group/contrib[@contrib-type='author']/name"):
            self.out.block(
                " ".join(filter(None, map(folded, (name.find("given-names"), name.find("surname"))))), "author"
            )
        for affiliation in meta.iter("aff"):
            self._span("authoraffiliation", affiliation)

    def _abstracts(self) -> None:
        if self.meta is None:
            return
        found = self.meta.findall("abstract")
        plain = [abstract for abstract in found if abstract.get("abstract-type") is None]
        others = [abstract for abstract in found if abstract.get("abstract-type") not in OTHER_ABSTRACTS]
        for abstract in plain or others[:1]:
            start = self.out.length
            for block in [part for part in abstract.iter("p") if not any(True for _ in part.iterancestors("p"))]:
                section = block.getparent()
                first = section.tag == "sec" and section.find("p") is block
                if first and section.find("title") is not None:
                    self._inline(section.find("title"))
                    self.out.add(" ")
                self._inline(block)
                self.out.end_line()
            self.out.span("abstract", start, self.out.length)
            self.out.end_block()

    def _blocks(self, parent: Any, depth: int) -> None:
        """Headers and paragraphs under `parent`, in document order."""
        inside = parent.tag
        for child in parent:
            tag = child.tag
            if tag == "title" and inside not in LINES:
                label = parent.find("label")
                self._span("sectionheader", child, number=folded(label).rstrip(".") or None, depth=max(depth, 1))
            elif tag in LABELS and (tag != "label" or inside == "list-item"):
                self.label = self.label or _words(child)
            elif tag in FLOATS:
                self.floats.append(child)
            elif tag in PARAGRAPHS or tag == "title" or (tag in BLOCKS and child.text and child.text.strip()):
                self._paragraph(child, depth)
            elif isinstance(tag, str) and tag not in SILENT and not tag.startswith(MATHML):
                self._blocks(child, depth + 1 if tag == "sec" else depth)
                self.label = ""

    def _paragraph(self, paragraph: Any, depth: int) -> None:
        """A paragraph. Blocks inside it (lists, quotations) become paragraphs of their own, its rest follows them."""
        self._piece = self.out.length
        if self.label:
            self.out.add(self.label + " ")
            self.label = ""
        self.out.add(paragraph.text)
        for child in paragraph:
            if child.tag in BLOCKS:
                self._end_paragraph()
                self._block(child, depth)
                self._piece = self.out.length
            else:
                self._inline_child(child)
            self.out.add(child.tail)
        self._end_paragraph()

    def _block(self, child: Any, depth: int) -> None:
        if child.tag in FLOATS:
            self.floats.append(child)
        elif child.tag == "p":
            self._paragraph(child, depth)
        else:
            self._blocks(child, depth)

    def _end_paragraph(self) -> None:
        self.out.span("paragraph", self._piece, self.out.length)
        self.out.end_block()

    def _span(self, kind: str, element: Any, number: str | None = None, depth: int | None = None) -> None:
        start = self.out.length
        self._inline(element)
        self.out.span(kind, start, self.out.length, number=number, depth=depth)
        self.out.end_block()

    def _inline(self, element: Any) -> None:
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
            return
        if tag == "label" and child.getparent().tag == "list-item":
            self.out.add(f" {_words(child)} ")
            return
        if tag == MATHML + "math" or (tag == "inline-formula" and has_formula(child)):
            self.out.formula(formula_text(child))
            return
        if tag in SILENT or tag.startswith(MATHML):
            if tag in GAPS:
                self.out.gap()
            return
        exponent = exponent_of(child, self.out.tail) if tag == "sup" else None
        if exponent is not None:
            self.out.add(exponent)
            return
        if tag in FLOATS:
            self.floats.append(child)
            return
        if tag in ("break", "p", "title"):
            self.out.add(" ")
        start = self.out.length
        self._inline(child)
        if tag == "xref":
            self._mention(child, start)

    def _mention(self, xref: Any, start: int) -> None:
        """A cross-reference is a citation when it points at a reference, whatever type it states.

        Marks of footnotes count as citations too: they lead out of the text and go as those do.
        """
        targets = (xref.get("rid") or "").split()
        is_citation = not self.references.isdisjoint(targets)
        kind = "bibref" if is_citation or _is_footnote_mark(xref) else XREF_KINDS.get(xref.get("ref-type", ""))
        if kind is not None:
            self.out.span(kind, start, self.out.length, ref=targets[0] if targets else None)

    def _references(self) -> None:
        for reference in self.article.iterfind("back//ref"):
            start, words = self.out.length, folded(reference)
            self.out.add(words)
            self.out.span("bibentry", start, self.out.length, ref=reference.get("id"))
            if self.wants_titles:
                for part in reference.iter(*BIB_KINDS):
                    name = folded(part)
                    place = start + words.find(name)
                    self.out.span(BIB_KINDS[part.tag], place, place + len(name))
            self.out.end_line()
        self.out.end_block()

    def _floats(self) -> None:
        """Figures, then tables: label and caption, and the cells of a table as they follow each other."""
        for tag, prefix in FLOATS.items():
            for number, element in enumerate(item for item in self.floats if item.tag == tag):
                start = self.out.length
                self.out.add(_words(element.find("label")) + " ")
                caption, caption_start = element.find("caption"), self.out.length
                if caption is not None:
                    self._inline(caption)
                    self.out.span("figurecaption", caption_start, self.out.length)
                cells = " ".join(folded(table) for table in element.iter("table"))
                self.out.add(" " + cells if cells else None)
                if prefix == "tab":
                    self.out.span("table", start, self.out.length)
                self.out.span("figure", start, self.out.length, ref=element.get("id") or f"{prefix}_{number}")
                self.out.end_block()


def _words(element: Any) -> str:
    """The text of an element as it is set, `F<sc>ig</sc>` being one word; empty for None."""
    return "" if element is None else " ".join("".join(map(str, element.itertext())).split())


def _is_footnote_mark(xref: Any) -> bool:
    """Whether a cross-reference is the raised letter, number or star of a footnote."""
    return xref.get("ref-type") in FOOTNOTES and len(folded(xref)) <= 2


def folded(element: Any) -> str:
    """All text of an element, white space folded; empty for None."""
    return "" if element is None else " ".join(" ".join(map(str, element.itertext())).split())
