"""XML as it is found: what every browser would still read is brought into the form that a strict parser takes."""

import html
import re

from lxml import etree

from pmc_llama.corpus.storage import as_utf8

HEAD_BYTES = 2**16
ENCODING = re.compile(rb'^(\s*<\?xml[^>]*?)\s+encoding\s*=\s*["\'][^"\']*["\']')
TWICE_ESCAPED = re.compile(rb"&amp;(#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|lt|gt|amp|quot|apos|nbsp);")
ESCAPED = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|lt|gt|amp|quot|apos|nbsp);")
DECLARATION = re.compile(rb"^(\s*<\?xml[^>]*\?>)?")
OWN_SUBSET = re.compile(rb"(?:\s|<\?.*?\?>|<!--.*?-->)*<!DOCTYPE[^\[>]*\[", re.DOTALL)
OWN_ENTITY = re.compile(rb"""<!ENTITY\s+([A-Za-z_][\w.-]*)\s+(?:"([^"&<%]{0,1000})"|'([^'&<%]{0,1000})')\s*>""")
REFERENCE = re.compile(rb"&([A-Za-z_][\w.-]*);")
SURROGATES = re.compile(rb"&#(\d{5}|[xX]0*[dD][89a-fA-F][0-9a-fA-F]{2});")
PAIR = re.compile(rb"&#(\d{5}|[xX]0*[dD][89abAB][0-9a-fA-F]{2});&#(\d{5}|[xX]0*[dD][c-fC-F][0-9a-fA-F]{2});")
DOCTYPE = b'<!DOCTYPE article SYSTEM "article.dtd">'
"""Names no file that is ever read; with it, characters by name (`&alpha;`) are no error."""


def parser() -> etree.XMLParser:
    """A parser that reads nothing outside the file and expands no entity."""
    return etree.XMLParser(
        huge_tree=True, resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )


def decoded(xml: bytes) -> bytes:
    """The document as UTF-8 where it was UTF-16, or still says so; the same object where it was not."""
    found = as_utf8(xml)
    return ENCODING.sub(rb"\1", found, count=1) if b"UTF-16" in found[:100].upper() else found


def unescaped(xml: bytes, text: str) -> bytes | None:
    """The document without characters that are escaped twice (`&amp;lt;`); None when its text shows none."""
    return TWICE_ESCAPED.sub(_unescaped, xml) if "&" in text and ESCAPED.search(text) else None


def _unescaped(match: re.Match[bytes]) -> bytes:
    characters = html.unescape(f"&{match.group(1).decode()};")
    return b"".join(b"&#%d;" % ord(char) if ord(char) >= 32 else b" " for char in characters)


def with_own_entities(xml: bytes) -> bytes:
    """The entities put in that the document declares itself as plain words; others are left to the parser.

    Words alone cannot grow: an entity that names another one, or a file, is not touched.
    """
    subset = OWN_SUBSET.match(xml)
    start, end = (subset.end(), xml.find(b"]>", subset.end())) if subset else (0, -1)
    if end < 0:
        return xml
    words = {name: double or single for name, double, single in OWN_ENTITY.findall(xml, start, end)}
    if not words:
        return xml
    return xml[:end] + REFERENCE.sub(lambda match: words.get(match.group(1), match.group()), xml[end:])


def mended(xml: bytes) -> bytes | None:
    """A document that was refused, with surrogates joined and a DOCTYPE; None when nothing of that was missing."""
    found = PAIR.sub(_joined, xml)
    found = SURROGATES.sub(_not_alone, found)
    if b"<!DOCTYPE" not in found[:HEAD_BYTES]:
        end = DECLARATION.match(found).end()  # type: ignore[union-attr]  # it matches nothing at all, too
        found = found[:end] + DOCTYPE + found[end:]
    return found if found != xml else None


def _number(reference: bytes) -> int:
    return int(reference[1:], 16) if reference[:1] in b"xX" else int(reference)


def _joined(match: re.Match[bytes]) -> bytes:
    high, low = map(_number, match.groups())
    if not (0xD800 <= high < 0xDC00 <= low < 0xE000):
        return match.group()
    return b"&#%d;" % (0x10000 + ((high - 0xD800) << 10) + low - 0xDC00)


def _not_alone(match: re.Match[bytes]) -> bytes:
    return b"&#65533;" if 0xD800 <= _number(match.group(1)) < 0xE000 else match.group()
