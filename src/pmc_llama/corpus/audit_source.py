"""What a JATS article says, by a walk of its own: it shares no code with the readers and rules that it judges."""

import re
import unicodedata
from typing import Any

import msgspec
from lxml import etree

CITATION, END, EXPONENT, FORMULA = "\x01", "\x02", "\x03", "\x04"
"""Marks in a block's text: where a citation (or other words that may go) begins and ends, before an exponent, and on
both sides of a formula in the line, which may be one word with its neighbours (`CO` and `3-`, `j` and `th`)."""
INLINE = {
    *("bold", "italic", "sup", "sub", "xref", "ext-link", "named-content", "styled-content", "underline", "sc", "uri"),
    *("monospace", "email", "overline", "roman", "sans-serif", "strike", "abbrev", "inline-formula", "chem-struct"),
    *("related-article", "related-object", "milestone-start", "milestone-end", "target", "institution", "fixed-case"),
    *("private-char", "ruby", "rb", "rt", "price", "string-date", "year", "month", "day", "citation-alternatives"),
    *("mixed-citation", "element-citation", "article-title", "source", "string-name", "surname", "given-names"),
}
DROPPED = {
    *("table", "table-wrap-foot", "fn", "fn-group", "ref-list", "sub-article", "response", "supplementary-material"),
    *("inline-supplementary-material", "media", "graphic", "inline-graphic", "object-id", "permissions", "sec-meta"),
    *("alt-text", "long-desc", "x", "processing-meta", "index-term"),
}
MATH = {"math", "tex-math", "disp-formula", "disp-formula-group"}
HOLDERS = {"fig", "table-wrap"}
OUTSIDE = (
    r"(?:acknowledge?ments?|(?:sources? of )?(?:funding|(?:financial|grant) support)"
    r"(?:[ /](?:sources?|statement|information|support))?|financial disclosures?|conflicts of interest"
    r"|disclosures?(?: statement)?|(?:declarations? of |statement of |potential )?"
    r"(?:competing|conflicts? of|conflicting|financial)(?: \w+)? interests?(?: statement)?"
    r"|author(?:s|'s|s')? ?contributions?(?: statement)?|contributors(?:hip statement)?"
    r"|authors?'? information|(?:data|code)(?: and \w+)? (?:availability|accessibility)(?: statement| and \w+)?"
    r"|availability of (?:data|supporting data|materials?)(?: and \w+)*"
    r"|electronic supplementary material|supporting information"
    r"|supplement(?:ary|al) (?:data|materials?|information|files?)(?: \w+)?"
    r"|additional (?:files?|information)(?: \w+)?|appendi(?:x|ces)(?: \w+)?|references(?: (?:and|cited) .*)?"
    r"|bibliography|literature cited"
    r"|publisher's note|pre-publication history)"
)
OUTSIDE_HEADING = re.compile(rf"[\W\d]*{OUTSIDE}(?:(?:,| and| &|/|;) {OUTSIDE})*[\s.:]*")
INSIDE = r"(?:[^\[\](){}\x01\x02]|\x01[^\x02]*\x02)*"
AROUND = re.compile(rf"[\[({{](?=[^\[\](){{}}]*\x01){INSIDE}[\])}}]")
NO_NAME = re.compile(r"\b(?:fig|tab|eq|supp|box|panel)", re.IGNORECASE)
LEADS = (
    r"and|or|see|also|e\.g|i\.e|eg|ie|cf|refs?|references?|reviewed|reviews?|review|in|by|for|a|as|therein|example|instance"
    r"|among|others|to|through|et|al|de|van|von|der|den|la|le|du|di|da|dos|del|pp?|but|with|from|ibid|recently|an|the|of"
    r"|respectively|more|further|details?|information|discussion|overview"
)
MAY_GO = re.compile(
    rf"(?:\W|\x01[^\x02]*\x02|\b(?i:{LEADS})\b|\b(?![a-z])[^\W\d_][\w'’]*|\b\d{{1,4}}[a-z]?\b|\b[a-z]\b)*"
)
LAST_NUMBER = re.compile(r"(?:^|[^\w.,])(?:[\d.,·]*[xX])?\d+(?:[.,·]\d+)*$|(?:^|[^\w.-])e$|\(\d+\.\d+\)$")
POWER = re.compile(r"\(?\s*[-\u2010-\u2015\u2212].{1,20}|[A-Za-z](?:[-+\u2212]\d)?", re.DOTALL)
"""A raised sign with letters, or one letter: a power behind some numbers, and else a mark."""
LABELLED = {
    *("list-item", "list", "def-list", "statement", "boxed-text", "fig-group", "table-wrap-group", "verse-group"),
    *("disp-quote", "speech", "question", "answer", "array"),
}


class Block(msgspec.Struct):
    """A run of text that stands by itself in the article."""

    text: str
    optional: bool = False
    """The policy may drop it."""
    line: bool = True
    """It begins a line of its own."""


class Source(msgspec.Struct):
    """An article: what stands in reading order, and the captions, which may stand anywhere."""

    publisher: str
    title: Block
    blocks: list[Block]
    captions: list[Block]


def read_source(xml: bytes) -> Source | None:
    """The first article of a file; None when there is none, or when the XML is broken."""
    parser = etree.XMLParser(
        huge_tree=True, resolve_entities=False, load_dtd=False, no_network=True, remove_comments=True
    )
    try:
        root = etree.fromstring(xml, parser)
    except etree.XMLSyntaxError:
        return None
    article = next((element for element in root.iter() if _name(element) == "article"), None)
    return None if article is None else _Walk(article).source()


def _name(element: Any) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


class _Walk:
    def __init__(self, article: Any) -> None:
        self.article = article
        self.references = {
            one.get("id") for ref in article.iter("{*}ref") for one in ref.iter() if one.get("id") is not None
        }
        notes = [one for name in ("fn", "corresp", "aff", "author-notes") for one in article.iter(f"{{*}}{name}")]
        self.notes = {one.get("id") for one in notes}
        self.blocks: list[Block] = []
        self.captions: list[Block] = []
        self.parts: list[str] = []
        self.optional, self.line = False, True

    def source(self) -> Source:
        article = self.article
        for part in article.findall("./{*}front/{*}article-meta/{*}title-group/*"):
            if _name(part) in ("article-title", "subtitle"):
                self._inline(part)
                self._add(" ")
        self._flush()
        title = self.blocks.pop() if self.blocks else Block("")
        abstracts = article.findall("./{*}front/{*}article-meta/{*}abstract")
        plain = [
            one for one in abstracts if one.get("abstract-type") in (None, "main", "abstract", "normal", "section")
        ]
        self.optional = len(plain) != 1  # the policy takes one of them
        for abstract in plain or abstracts:
            self._walk_in(abstract)
        self.optional = False
        body = article.find("./{*}body")
        if body is not None:
            self._walk_in(body)
        for group in article.findall("./{*}floats-group") + article.findall("./{*}floats-wrap"):
            self._walk_in(group)
        name = article.find(".//{*}publisher-name")
        name = article.find(".//{*}journal-title") if name is None else name
        publisher = " ".join("".join(map(str, name.itertext())).split()) if name is not None else "unknown"
        return Source(publisher, title, self.blocks, self.captions)

    def _walk_in(self, element: Any) -> None:
        """A container: text straight in it, and its children."""
        self._flush()
        before = self.optional
        if _name(element) == "sec":
            self.optional = before or _is_outside(element)
        self._add(element.text)
        for child in element:
            self._child(child, element)
            self._add(child.tail)
        self._flush()
        self.optional = before

    def _child(self, child: Any, parent: Any) -> None:
        name, inside = _name(child), _name(parent)
        if not name:
            self._add(str(child.text) if isinstance(child, etree._Entity) else None)
        elif name in DROPPED:
            self._add(" ")
        elif name in MATH or name == "alternatives":
            self._mark(child, " " if name.startswith("disp") else FORMULA)
        elif name in HOLDERS:
            self._add(" ")
            self._caption(child)
        elif name == "label" and inside not in LABELLED:
            self._mark(child, " ")
        elif name in ("td", "th", "break") or (name == "code" and inside == "p"):
            self._add(" ")
            self._inline(child)
            self._add(" ")
        elif name in ("label", "term", "speaker"):
            self._inline(child)
            self._flush()
            self.line = False  # its text stands on the same line
        elif name == "title" and inside == "abstract":
            self._mark(child, " ")
        elif name == "title" and inside == "sec" and not _has_words(parent):
            before, self.optional = self.optional, True  # nothing but floats may stand below it
            self._walk_in(child)
            self.optional = before
        elif name == "inline-formula" and not "".join(map(str, child.itertext())).strip():
            self.parts.append(FORMULA + CITATION + "formula" + END + FORMULA)  # a picture, which a word may stand for
        elif name in INLINE:
            self._inline(child)
        else:
            self._walk_in(child)

    def _inline(self, element: Any) -> None:
        name = _name(element)
        if name == "xref" and self._cites(element):
            self._mark(element, "")
            return
        exponent = self._exponent(element) if name == "sup" else ""
        self.parts.append(exponent)
        self._add(element.text)
        for child in element:
            self._child(child, element)
            self._add(child.tail)
        if exponent and (element.tail or "")[:1].isdigit():
            self._add(" ")

    def _cites(self, xref: Any) -> bool:
        targets = (xref.get("rid") or "").split()
        if any(target in self.references for target in targets):
            return True
        to_note = xref.get("ref-type") in ("fn", "table-fn", "corresp", "aff", "author-notes")
        to_note = to_note or any(target in self.notes for target in targets)
        return xref.get("ref-type") == "bibr" or (
            to_note and len("".join(map(str, xref.itertext())).strip(" []()")) < 4
        )

    def _exponent(self, sup: Any) -> str:
        """The mark before the superscript of a number: of an exponent, or of what may be one."""
        words = "".join(map(str, sup.itertext())).strip()
        if any(True for _ in sup.iter("{*}xref")) or LAST_NUMBER.search("".join(self.parts)[-20:]) is None:
            return ""
        if re.fullmatch(r"[-+\u2010-\u2015\u2212]?\s*\d[\d.,/\u2010-\u2015-]*", words):
            return EXPONENT
        return FORMULA if POWER.fullmatch(words) else ""

    def _mark(self, element: Any, blank: str) -> None:
        words = " ".join("".join(map(str, element.itertext())).split())
        self.parts.append(blank + CITATION + _normal(words) + END + blank)

    def _caption(self, holder: Any) -> None:
        """Label and caption, as a block of the captions; the text goes on behind it."""
        kept, self.parts = self.parts, []
        blocks, self.blocks = self.blocks, []
        for child in holder:
            if _name(child) == "caption":
                self._walk_in(child)
            elif _name(child) in HOLDERS:
                self._caption(child)
        self._flush()
        self.captions += [Block(block.text, block.optional, line=False) for block in self.blocks]
        self.blocks, self.parts = blocks, kept

    def _add(self, text: str | None) -> None:
        if text:
            self.parts.append(_normal(text))

    def _flush(self) -> None:
        text = " ".join("".join(self.parts).split(" ")).strip()
        self.parts = []
        if text:
            self.blocks.append(Block(_with_names(" ".join(text.split())), self.optional, self.line))
            self.line = True


def _normal(text: str) -> str:
    """NFC without control and invisible characters, which carry no words."""
    text = unicodedata.normalize("NFC", text) if not text.isascii() else text
    if text.isprintable():
        return text
    return "".join(
        " " if one.isspace() else one for one in text if one.isspace() or unicodedata.category(one)[0] != "C"
    )


def _has_words(section: Any) -> bool:
    """Whether a paragraph with words of its own stands straight in a section."""
    for one in section:
        if _name(one) == "p":
            words = [one.text, *(child.tail for child in one), *("x" for child in one if _name(child) in INLINE)]
            if any(word and word.strip() for word in words):
                return True
    return False


def _is_outside(section: Any) -> bool:
    title = section.find("{*}title")
    words = " ".join("".join(map(str, title.itertext())).split()).lower().replace("’", "'") if title is not None else ""
    return OUTSIDE_HEADING.fullmatch(words) is not None or words.startswith(("appendix", "supplementary "))


def _with_names(text: str) -> str:
    """Mark what stands in brackets with a citation and is only names, years and words such as "see" as one citation."""

    def mark(match: re.Match[str]) -> str:
        words = match.group()
        parts = words[1:-1].split(";")
        may_go = [MAY_GO.fullmatch(part) is not None and not NO_NAME.search(part) for part in parts]
        if all(may_go) and not any(map(_topic, parts)):
            return _one_mark(words)
        shown = [
            _topic(part) + _one_mark(part[len(_topic(part)) :]) if goes else part
            for part, goes in zip(parts, may_go, strict=True)
        ]
        return words[0] + ";".join(shown) + words[-1]

    for _ in range(3 if CITATION in text else 0):  # from the inside out
        text = AROUND.sub(mark, text)
    return text


def _topic(part: str) -> str:
    """What stands before the names: words before a colon, or an abbreviation before a comma."""
    found = re.match(r"[^:,\x01\x02]{2,60}:(?=\s*[A-Z\x01])|\s*[A-Z][A-Z0-9-]*[A-Z0-9](?=,\s*[A-Z]\w*[a-z]|\x01)", part)
    return found.group() if found and not re.fullmatch(rf"(?:\W|\b(?i:{LEADS})\b)*", found.group()) else ""


def _one_mark(text: str) -> str:
    return CITATION + text.replace(CITATION, "").replace(END, "") + END
