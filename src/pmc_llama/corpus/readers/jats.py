"""JATS XML (PMC): from the article's tree to one text with spans, in the order a person reads it."""

from typing import Any

from lxml import etree

from pmc_llama.corpus.paper import Paper, Skip, parse_doi, parse_number, parse_pmcid, tidy_spans
from pmc_llama.corpus.readers.jats_license import license_of
from pmc_llama.corpus.readers.jats_meta import PMC_TYPES, abstracts_of, version_of
from pmc_llama.corpus.readers.jats_tags import FLOATS, LEGENDS
from pmc_llama.corpus.readers.jats_walk import Walk, folded, has_own_text, words_of

TITLE_ENDS = (":", "?", "!", ".", "-", "\u2013", "\u2014")
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


class _Article(Walk):
    """One walk over an article."""

    def __init__(self, article: Any, wants_titles: bool) -> None:
        super().__init__(article)
        self.wants_titles = wants_titles
        self.meta = next(article.iter("article-meta"), None)

    def paper(self) -> Paper:
        paper = Paper(text="", true_paragraphs=True)
        self._front(paper)
        self._abstracts()
        body = self.article.find("body")
        if body is not None:
            self.blocks(body, depth=0)
        for group in self.article.iter("floats-group", "floats-wrap"):
            if not any(parent.tag == "sub-article" for parent in group.iterancestors()):
                self.blocks(group, depth=0)
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
        self._title(paper, meta)
        self.out.block(" ".join(filter(None, [paper.journal, str(paper.year or "")])), "venue")
        for name in meta.iterfind("contrib-group/contrib[@contrib-type='author']/name"):
            self.out.block(
                " ".join(filter(None, map(folded, (name.find("given-names"), name.find("surname"))))), "author"
            )
        for affiliation in meta.iter("aff"):
            self.marked("authoraffiliation", affiliation)

    def _title(self, paper: Paper, meta: Any) -> None:
        """Title and subtitles on one line, without marks of footnotes."""
        title = meta.find("title-group/article-title")
        if title is None:
            return
        start, self.in_title = self.out.length, True
        self.inline(title)
        for subtitle in meta.iterfind("title-group/subtitle"):
            if self.out.length > start and folded(subtitle):
                self.out.add(" " if self.out.tail(2).strip()[-1:] in TITLE_ENDS else ": ")
            self.inline(subtitle)
        self.in_title = False
        self.out.span("title", start, self.out.length)
        paper.title = self.out.last() if self.out.length > start else paper.title
        self.out.end_block()

    def _abstracts(self) -> None:
        """Each line of an abstract is a line of the text, its headings too; all of it is one span."""
        self.in_abstract = True
        for abstract in [] if self.meta is None else abstracts_of(self.article, self.meta):
            start = self.out.length
            read = self.paragraph if has_own_text(abstract) else self.blocks
            read(abstract, 0)
            self.out.span("abstract", start, self.out.length)
            self.out.end_block()
        self.in_abstract = False

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
                caption = element.find("caption")
                self.out.add(_label(element, caption) + " ")
                caption_start = self.out.length
                if caption is not None:
                    self.inline(caption)
                for legend in element.iterchildren(*LEGENDS):
                    self.out.add(" ")
                    self.inline(legend)
                self.out.close_up()
                self.out.span("figurecaption", caption_start, self.out.length)
                cells = " ".join(folded(table) for table in element.iter("table"))
                self.out.add(" " + cells if cells else None)
                if prefix == "tab":
                    self.out.span("table", start, self.out.length)
                self.out.span("figure", start, self.out.length, ref=element.get("id") or f"{prefix}_{number}")
                self.out.end_block()


def _label(element: Any, caption: Any) -> str:
    """The label of a figure or table, with the stop behind it where its caption begins with that."""
    label = words_of(element.find("label"))
    first = next((part for part in caption.iter() if (part.text or "").strip()), None) if caption is not None else None
    if label and first is not None and first.text.lstrip()[0] in ".:":
        words = first.text.lstrip()
        first.text, label = words[1:], label + words[0]
    return label
