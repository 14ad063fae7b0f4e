"""Several articles in one XML file: PMC's `pmc-articleset`, OAI's records, and the sub-articles of an article."""

import re
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, NamedTuple

from lxml import etree

from pmc_llama.corpus.paper import Counts, parse_pmcid
from pmc_llama.corpus.readers.jats_meta import PMC_TYPES
from pmc_llama.corpus.readers.xml_repair import DOCTYPE, mended, parser, with_own_entities

PAPERS = frozenset(
    (
        *("translation", "abstract", "meeting-abstract", "conference-abstract", "research-article", "review-article"),
        *("systematic-review", "case-report", "brief-report", "rapid-communication", "methods-article", "data-paper"),
        *("short-report", "clinical-trial", "editorial", "letter", "news", "obituary", "book-review", "oration"),
    )
)
"""Types of sub-articles that are papers themselves."""
REVIEWS = frozenset(
    (
        *("reviewer-report", "referee-report", "ref-report", "editor-report", "decision-letter", "peer-review"),
        *("aggregated-review-documents", "author-comment", "author-response", "reply", "response", "discussion"),
        *("article-commentary", "community-comment", "review-letter", "author-notes"),
    )
)
"""Types that speak about the paper: they are parts of it that are left out, as its footnotes are."""
ALONE = re.compile(rb"</(?:front|body|back|floats-group)>\s*</article>\s*\Z")
"""The end of most documents; sub-articles would stand there, and a set would end otherwise."""
TAIL_BYTES = 200


class Piece(NamedTuple):
    """One article of a file."""

    xml: bytes
    number: int
    """0 for the file's first article."""
    part_of: int | None = None
    """Of a sub-article: the PMC id of the article that holds it."""
    is_part: bool = False


def split_articles(xml: bytes) -> tuple[list[Piece], Counts]:
    """The articles of a file, and what was left out of it by reason.

    Sub-articles that are papers (translations, abstracts of a meeting) become articles of their own, with the journal,
    date and licence of the article around them where they state none; letters of reviewers and authors are left out.
    Counted are sub-articles without text (`empty_sub_article`) or of an unknown type (`other_sub_article`), and the
    articles that are only the cover of their sub-articles (`only_sub_articles`). A file that cannot be parsed is one
    piece: its reader says why.
    """
    if not _may_hold_several(xml):
        return [Piece(xml, 0)], Counter()
    root = _parsed(with_own_entities(xml))
    found = [] if root is None else list(root.iter("article", "{*}article"))
    if not found:
        return [Piece(xml, 0)], Counter()
    pieces: list[Piece] = []
    dropped: Counts = Counter()
    for article in found:
        pieces += _pieces(article, len(pieces), dropped)
    if len(pieces) == 1 and len(found) == 1:
        return [pieces[0]._replace(xml=xml)] if not pieces[0].is_part else pieces, dropped
    return pieces, dropped


def _may_hold_several(xml: bytes) -> bool:
    if ALONE.search(xml, max(len(xml) - TAIL_BYTES, 0)) or xml.count(b"article>") < 2:
        return False
    return xml.count(b"</article>") > 1 or b"sub-article" in xml or b":article>" in xml


def _parsed(xml: bytes) -> Any:
    for attempt in (xml, mended(xml)):
        try:
            return etree.fromstring(attempt, parser()) if attempt is not None else None
        except (etree.XMLSyntaxError, ValueError):
            continue
    return None


def _pieces(article: Any, number: int, dropped: Counts) -> Iterator[Piece]:
    namespace = article.tag.removesuffix("article")
    parts = list(article.iter(f"{namespace}sub-article"))
    for part in parts:  # the innermost too, so that each stands alone
        part.getparent().remove(part)
    parts = [part for part in parts if part.get("article-type") not in REVIEWS]
    papers = [part for part in parts if part.get("article-type") in PAPERS and _has_text(part, namespace)]
    for part in parts:
        if part not in papers:
            dropped["empty_sub_article" if part.get("article-type") in PAPERS else "other_sub_article"] += 1
    if papers and not _has_text(article, namespace):
        dropped["only_sub_articles"] += 1
    else:
        yield Piece(_written(article), number)
        number += 1
    pmcid = _pmcid(article, namespace)
    for part in papers:
        yield Piece(_written(_as_article(part, article, namespace)), number, pmcid, is_part=True)
        number += 1


def _has_text(article: Any, namespace: str) -> bool:
    places = [article.find(namespace + "body"), *article.iter(namespace + "abstract")]
    return any(place is not None and any(words.strip() for words in place.itertext()) for place in places)


def _as_article(part: Any, around: Any, namespace: str) -> Any:
    """A sub-article in the form of an article, with what it takes over from the one around it."""
    part.tag = namespace + "article"
    stub = part.find(namespace + "front-stub")
    if stub is not None:
        stub.tag = namespace + "article-meta"
        front = etree.Element(namespace + "front")
        part.replace(stub, front)
        front.append(stub)
    front, around_front = part.find(namespace + "front"), around.find(namespace + "front")
    meta = None if front is None else front.find(namespace + "article-meta")
    if meta is None or around_front is None:
        return part
    journal = around_front.find(namespace + "journal-meta")
    if journal is not None and front.find(namespace + "journal-meta") is None:
        front.insert(0, deepcopy(journal))
    for name in ("pub-date", "permissions"):
        if meta.find(namespace + name) is None:
            meta.extend(deepcopy(around_front.findall(f"{namespace}article-meta/{namespace}{name}")))
    return part


def _pmcid(article: Any, namespace: str) -> int | None:
    ids = article.iterfind(f"{namespace}front/{namespace}article-meta/{namespace}article-id")
    found = (parse_pmcid(element.text) for element in ids if element.get("pub-id-type") in PMC_TYPES)
    return next(filter(None, found), None)


def _written(article: Any) -> bytes:
    """With a DOCTYPE, as characters may be given by name."""
    return DOCTYPE + bytes(etree.tostring(article, encoding="utf-8", with_tail=False))
