"""What the front of a JATS article says of its version."""

import re
from collections.abc import Iterable
from typing import Any

MAIN_ABSTRACTS = {"main", "abstract", "normal", "section", "sections", "structured", "full", "research", "original"}
OTHER_ABSTRACTS = {
    *("graphical", "teaser", "toc", "editor", "author-highlights", "highlights", "key-points", "editors-summary"),
}
LAY = re.compile(r"lay|plain|patient|public|summary|synopsis|short|precis|video|web")
PMC_TYPES = ("pmc", "pmcid", "pmcid-ver", "pmcaid")
NUMBER = re.compile(r"v?(\d{1,6})(?:\.(\d{1,3}))?", re.IGNORECASE)
ID_VERSION = re.compile(r"(?:PMC)?\d+\.(\d{1,6})", re.IGNORECASE)
LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
MAJOR = 1000
"""Versions are numbers of this many parts: 2 is 2000, 1.7 is 1007."""


def version_of(meta: Any) -> int:
    """The version by `pmcid-ver` or another PMC id with a version, else by `article-version`; 0 when there is none."""
    ids, versions = [], []
    for child in meta.iterchildren("article-id", "article-version", "article-version-alternatives"):
        if child.tag == "article-id":
            ids.append(version_in_id(child.text or "") if (child.get("pub-id-type") or "").startswith("pmc") else 0)
        else:
            versions += [element.text or "" for element in child.iter("article-version")]
    return max(ids, default=0) or max(_numbers(versions), default=0)


def version_in_id(text: str) -> int:
    """The version that ends a PMC id, as in `PMC10009416.2`; 0 when none does."""
    match = ID_VERSION.fullmatch(text.strip())
    return int(match.group(1)) * MAJOR if match else 0


def _numbers(versions: Iterable[str]) -> list[int]:
    """Versions that are numbers; others are stages, such as `preprint`."""
    found = (NUMBER.fullmatch(version.strip()) for version in versions)
    return [int(match.group(1)) * MAJOR + int(match.group(2) or 0) for match in found if match]


def abstracts_of(article: Any, meta: Any) -> list[Any]:
    """The abstracts that state no type, in the article's language where they are several; else the best of the others.

    One that calls itself main comes before one of an unknown type, and that before summaries for others than readers
    of the field. Pictures, highlights and words of the editor are none.
    """
    found = meta.findall("abstract")
    plain = [abstract for abstract in found if abstract.get("abstract-type") is None]
    own = [abstract for abstract in plain if abstract.get(LANGUAGE) in (None, article.get(LANGUAGE))]
    others = [abstract for abstract in found if _type(abstract) not in OTHER_ABSTRACTS]
    return own or plain or sorted(others, key=_rank)[:1]


def _type(abstract: Any) -> str:
    return (abstract.get("abstract-type") or "").lower()


def _rank(abstract: Any) -> int:
    kind = _type(abstract)
    return 0 if kind in MAIN_ABSTRACTS else 2 if LAY.search(kind) else 1
