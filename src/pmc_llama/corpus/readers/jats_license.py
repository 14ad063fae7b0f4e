"""The licence of a JATS article: the strictest of all that its permissions say."""

import re
from collections.abc import Iterator
from typing import Any, cast

from lxml import etree

_TERM = r"non[\s-]?commercial|no[\s-]?deriv\w*|share[\s-]?alike|nc|nd|sa"
URL = re.compile(r"creativecommons\.org/(?:licen[sc]es?/([a-z-]+)(?:/(\d\.\d))?|publicdomain/zero)")
CODE = re.compile(rf"(?:\bcc|creativecommons)[\s-]?by((?:[\s-]*(?:{_TERM})\b)*)(?:[\s-]*(\d\.\d))?")
NAMED = re.compile(
    rf"creative\s+commons\W{{0,3}}(?:licen[sc]es?\W{{1,3}})?attribution((?:[\s,/\u2010-\u2015-]*(?:{_TERM})\b)*)"
    r"(?:\W{0,3}(?:international|unported|generic|licen[sc]e)?\W{0,3}(\d\.\d))?"
)
WAIVER = re.compile(r"\bcc[\s-]?0\b|creative commons (?:\w+ )?public domain|creative commons zero")
NON_COMMERCIAL = re.compile(
    r"(?<!commercial and )(?<!commercial or )(?<!commercial and/or )(?<!commercial, )\bnon[\s\u2010-\u2015-]?commercial"
    r"(?!\w* *(?:and|or|and/or|,|as well as) commercial)"
    r"|\bnot\b[^.;]{0,40}\bfor commercial|\b(?:no|except|excluding|without) (?:for |any )?commercial"
    r"|\bcommercial(?: re[\s-]?|[\s-])us\w+[^.;]{0,40}(?:\bnot\b|\bprohibited|\bforbidden|\brequires?\b|\bcontact\b)"
)
NO_DERIVATIVES = re.compile(r"\bno[\s-]?deriv")
NO_ADAPTATIONS = re.compile(r"\bno modifications or adaptations")
NO_CHANGES = re.compile(r"\bnot (?:be )?(?:altered|changed|modified)[^.;]{0,20}\b(?:transformed|built upon|adapted)")
SHARE_ALIKE = re.compile(r"\bshare[\s-]?alike")
LINK = re.compile(r"\S*creativecommons\.org\S*")
ATTRIBUTES = etree.XPath("descendant-or-self::*/@*")
PROSE = (
    ("nc", "commercial", NON_COMMERCIAL),
    ("nd", "deriv", NO_DERIVATIVES),
    ("nd", "adaptations", NO_ADAPTATIONS),
    ("nd", "not", NO_CHANGES),
    ("sa", "alike", SHARE_ALIKE),
)
"""Condition, a word that is there when it is stated (which is quick to look for), and the words that state it."""

Statement = tuple[frozenset[str], str]
"""Conditions beside attribution (`nc`, `nd`, `sa`; `0`: there are none at all) and the version, "" where it is not."""


def license_of(meta: Any) -> str | None:
    """The Creative Commons licence as "CC BY-NC 4.0", by links, codes and prose of the whole block; None without one.

    Where they differ the strictest stands: a link to CC BY beside words that allow no commercial use is CC BY-NC.
    """
    words = " ".join([_words(block) for block in meta.iterchildren("permissions")]).lower()
    found = list(_stated(words))
    if not found:
        return None
    terms = _terms_of_prose(words)
    if terms:
        found.append((terms, ""))
    conditions, version = max(found, key=_strictness)
    if "0" in conditions:
        return "CC0"
    code = "-".join(["BY", *(term.upper() for term in ("nc", "nd", "sa") if term in conditions)])
    return " ".join(filter(None, ["CC", code, version]))


def stricter(listed: str | None, stated: str | None) -> str | None:
    """The licence of an article of which a list says one and its own permissions another.

    A list's other codes than those of Creative Commons stand as they are.
    """
    if not listed or not stated or not listed.upper().startswith("CC"):
        return listed or stated
    own, other = (frozenset("0") if name.upper() == "CC0" else _conditions(name.lower()) for name in (stated, listed))
    return stated if _strictness((own, "")) > _strictness((other, "")) else listed


def _words(block: Any) -> str:
    """Text and links of a block."""
    return " ".join([*map(str, block.itertext()), *cast(list[str], ATTRIBUTES(block))])


def _stated(words: str) -> Iterator[Statement]:
    for match in URL.finditer(words):
        code, version = match.groups()
        yield (_conditions(code), version or "") if code else (frozenset("0"), "")
    if "0" in words or "domain" in words or "zero" in words:
        yield from ((frozenset("0"), "") for _ in WAIVER.finditer(words))
    for pattern in (CODE, NAMED):
        for match in pattern.finditer(words):
            yield _conditions(match.group(1)), match.group(2) or ""


def _conditions(code: str) -> frozenset[str]:
    """`nc`, `nd` and `sa` of a code or name: "by-nc-sa", "-NonCommercial-ShareAlike"."""
    if code in ("", "by"):
        return frozenset()
    letters = re.sub(r"[\W_]+", " ", code)
    spelled = {"nc": r"\bnc\b|non ?commercial", "nd": r"\bnd\b|no ?deriv", "sa": r"\bsa\b|share ?alike"}
    return frozenset(term for term, pattern in spelled.items() if re.search(pattern, letters))


def _terms_of_prose(words: str) -> frozenset[str]:
    likely = [(term, pattern) for term, word, pattern in PROSE if word in words]
    prose = LINK.sub(" ", words) if likely else ""
    return frozenset(term for term, pattern in likely if pattern.search(prose))


def _strictness(statement: Statement) -> tuple[bool, bool, bool, bool, bool]:
    """Attribution is stricter than none; of equal ones that which says its version."""
    conditions, version = statement
    return ("nc" in conditions, "nd" in conditions, "sa" in conditions, "0" not in conditions, bool(version))
