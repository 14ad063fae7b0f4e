"""Text that others wrote, made harmless where it is shown: one function for each kind of place."""

import html
import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters but line feeds and tabs, and marks that turn the direction of writing round."""
_MARKDOWN = re.compile(r"[\\`*\[\]<>|~$]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)|^(?:#{1,6}|[+-]|\d+[.)])(?=\s)")
_STARTS_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s?#]+@")
_QUERY = re.compile(r"(?P<address>[a-z][a-z0-9+.-]*://[^\s?#\"'<>]+)[?#][^\s\"'<>]+", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_SECRET_NAME = re.compile(r"sig|token|key|secret|pass|pwd|cred|auth|session|policy", re.IGNORECASE)
LONGEST_PLAIN = 32
"""Characters of a value in a query that is longer than words and numbers are."""


def terminal(text: str) -> str:
    """For a terminal: nothing moves the cursor, changes colours, or writes from right to left."""
    return _CONTROL.sub("\ufffd", text)


def markup(text: str) -> str:
    """For rich's markup: brackets are brackets, and what `terminal` takes out is out."""
    from rich.markup import escape

    return escape(terminal(text))


def csv_cell(value: object) -> object:
    """For a table that a spreadsheet opens: a text that would be taken for a formula begins with an apostrophe.

    Numbers stay numbers, also those written as text.
    """
    if not isinstance(value, str) or not value.startswith(_STARTS_FORMULA) or _is_number(value):
        return value
    return "'" + value


def markdown(text: str) -> str:
    """For a line of Markdown: no mark-up, no HTML, no line break."""
    return _MARKDOWN.sub(_with_backslash, terminal(" ".join(text.split())))


def _with_backslash(found: re.Match[str]) -> str:
    return f"{found[0][:-1]}\\{found[0][-1]}"


def in_html(text: str) -> str:
    """For HTML, in text as in quoted attributes."""
    return html.escape(terminal(text), quote=True)


def without_secrets(text: str) -> str:
    """Addresses in a text without what may be secret in them: `user:password@`, and what follows `?` or `#`."""
    return _QUERY.sub(r"\g<address>", _CREDENTIALS.sub("", text))


def secret_in(address: str) -> str | None:
    """What of an address is a secret, in words; None where nothing is, as where it only names variables (`${NAME}`)."""
    if "://" not in address:
        return None
    scheme, _, rest = _VARIABLE.sub("", address).partition("://")
    web = scheme.lower() in ("http", "https")
    who = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[0]
    if who.strip(":") and (web or who.partition(":")[2]):
        return "a user name or password"
    for part in re.split(r"[&;]", rest.partition("?")[2].partition("#")[0]) if web else ():
        name, _, value = part.partition("=")
        if value and (_SECRET_NAME.search(name) or len(value) > LONGEST_PLAIN):
            return f"the value of {name!r}"
    return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
