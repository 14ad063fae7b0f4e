"""What the front of a JATS article says of its version."""

import re
from collections.abc import Iterable
from typing import Any

PMC_TYPES = ("pmc", "pmcid", "pmcid-ver", "pmcaid")
NUMBER = re.compile(r"v?(\d{1,6})(?:\.(\d{1,3}))?", re.IGNORECASE)
ID_VERSION = re.compile(r"(?:PMC)?\d+\.(\d{1,6})", re.IGNORECASE)
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
