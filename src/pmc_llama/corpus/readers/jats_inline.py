"""Small things inside the lines of a JATS article whose text is not simply their words: exponents and formulas."""

import re
from collections.abc import Callable
from typing import Any

DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2212"
DASH = re.compile(f"[{DASHES}]")
EXPONENT = re.compile(rf"[+{DASHES}]?\s*\d[\d.,{DASHES}]*|[{DASHES}]")
POWER = re.compile(rf"[{DASHES}]\s*[\w(∆Δ].{{0,20}}|\(\s*[{DASHES}].{{1,20}}\)")
"""A negative power that is no number: that of 2 to the −ΔΔCt."""
VARIABLE = re.compile(rf"[nkmxNi](?:\s*[+{DASHES}]\s*\d+)?")
BASE = re.compile(
    r"(?:(?:^|[^\w.,·]|(?:\d|[^\w.]|^)[xX])\d+(?:[.,·]\d+)*|(?:[×·*]|(?:\d ?|[^\w.]|^)[xX]) ?10 |\(\d+[.·]\d+\))$"
)
TEN = re.compile(r"(?:^|[^\w.,·-])10 $")
COUNTED = re.compile(r"\s*/|\s*(?:cells?|cfu|copies|pfu|spores?|conidia|bacteria|parasites?|particles|[mµμ]?l)\b", re.I)
EULER = re.compile(r"(?:^|[^\w.-])e$")
BASE_CHARS = 24
"""So much of the text before a superscript tells whether a number stands there."""
FRACTION = re.compile(r"\d+/\d+")
TEX_DOCUMENT = re.compile(r"\\begin\{document\}(.*?)\\end\{document\}", re.DOTALL)
RELATIONS = frozenset("=<>≤≥≈≠±×∈~∼→≪≫≡∝")
SIMPLE = re.compile(r"[-−+]?[\w.]+")
PRIMES = ("′", "″", "‴", "'", "*", "†")
ARROW = "\u20d7"
"""Above the letter before it: a vector."""
SCRIPTS = {"msup": "^", "msub": "_", "mfrac": "/", "mover": ""}
PICTURE = "[formula]"
MAX_DEPTH = 40


def exponent_of(sup: Any, before: Callable[[int], str]) -> str | None:
    """`^-4` for the superscript of a number, ` 6/7` for a fraction; None for any other.

    `before` gives so many of the last characters of the text.
    """
    words = "".join(map(str, sup.itertext())) if len(sup) else sup.text or ""
    power = words.strip()
    if FRACTION.fullmatch(words) and before(1).isdigit():
        return " " + words
    is_number = EXPONENT.fullmatch(power) is not None
    if not is_number and POWER.fullmatch(power) is None and VARIABLE.fullmatch(power) is None:
        return None
    if sup.getparent().tag == "xref" or sup.find(".//xref") is not None:
        return None
    base = before(BASE_CHARS)
    if not _is_base(base, power, is_number, sup.tail or ""):
        return None
    following = sup.getnext()
    if (sup.tail or "").strip() in ("/", "\u2044") and following is not None and following.tag == "sub":
        return " " + words  # 1 1/2
    set_power = ("" if is_number else " ").join(power.split())
    return "^" + DASH.sub("-", set_power) + (" " if words[-1].isspace() else "")


def _is_base(base: str, power: str, is_number: bool, behind: str) -> bool:
    """Whether the text before a superscript ends in what it is a power of."""
    signed = power[:1] in DASHES
    if not is_number:
        found = BASE.search(base) is not None and (power[:1] in "(" + DASHES or base[-2:] in ("10", " 2", "(2", "=2"))
        return found or (EULER.search(base) is not None and power[:1] in "(" + DASHES)
    if EULER.search(base):
        return signed and len(power) > 1
    if TEN.search(base):
        return (signed and len(power) > 1) or COUNTED.match(behind) is not None or BASE.search(base) is not None
    return BASE.search(base) is not None and (power not in DASHES or base.endswith("10"))


def has_formula(element: Any) -> bool:
    """Whether an inline formula is MathML, TeX or a picture, and not plain text."""
    return any(True for _ in element.iter("{*}math", "tex-math", "graphic", "inline-graphic"))


def formula_text(element: Any) -> str:
    """The text of the MathML in a formula, else its TeX; `[formula]` where it is a picture."""
    math = next(element.iter("{*}math"), None)
    if math is not None:
        return " ".join(_math(math, 0).split())
    tex = next(element.iter("tex-math"), None)
    if tex is None:
        return PICTURE
    words = "".join(map(str, tex.itertext()))
    inside = TEX_DOCUMENT.search(words)
    return " ".join((inside.group(1) if inside else words).replace("$", " ").split())


def _math(element: Any, depth: int) -> str:
    """MathML on one line: `x^2`, `a/b`, `√(x)`."""
    name = element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
    if name in ("annotation", "annotation-xml", ""):
        return ""
    if depth > MAX_DEPTH or name in ("mi", "mn", "mo", "mtext", "ms"):
        words = "".join(map(str, element.itertext()))
        return f" {words.strip()} " if name == "mo" and words.strip() in RELATIONS else words.strip("\n")
    parts = [_math(child, depth + 1) for child in element]
    if name in SCRIPTS and len(parts) == 2:
        return _scripted(name, *parts)
    if name in ("msqrt", "mroot"):
        return f"√({''.join(parts[:1] if name == 'mroot' else parts)})"
    if name == "mfenced":
        inside = str(element.get("separators", ","))[:1].join(parts)
        return f"{element.get('open', '(')}{inside}{element.get('close', ')')}"
    return " " if name == "mspace" else (" " if name in ("mtr", "mtd", "mtable") else "").join(parts)


def _scripted(name: str, one: str, other: str) -> str:
    mark = other.strip()
    if (name == "msup" and mark in PRIMES) or name == "mover":
        return one + (ARROW if mark in ("→", "⇀") else mark)
    return _joined(SCRIPTS[name], one, other)


def _joined(sign: str, one: str, other: str) -> str:
    if sign == "_" and not other.strip()[:1].isalpha():
        return one + other  # CO2
    return f"{_grouped(one) if sign == '/' else one}{sign}{_grouped(other)}"


def _grouped(text: str) -> str:
    text = text.strip()
    return text if SIMPLE.fullmatch(text) or len(text) < 2 else f"({text})"
