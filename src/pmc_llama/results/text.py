"""Numbers as people read them: percent, points, p values, counts; a true minus sign, units always there."""

import math
from collections.abc import Sequence


def percent(share: float, digits: int = 1) -> str:
    """A share as percent: 0.4455 -> '44.6 %'."""
    return f"{100 * share:.{digits}f} %".replace("-", "−")


def points(difference: float) -> str:
    """A difference of two shares in percentage points, always signed: '+4.9', '−3.9', '0.0'."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def percent_points(share: float) -> str:
    """A size in percentage points: '2 points', '0.5 points', rounded up to a tenth, so that it is never 0."""
    tenths = math.ceil(1000 * share - 1e-9)
    return f"{max(tenths, 1) / 10:g} points"


def interval(ci95: Sequence[float]) -> str:
    """An interval of shares in percent: '40.1 to 48.9'."""
    return f"{100 * ci95[0]:.1f} to {100 * ci95[1]:.1f}"


def signed_interval(ci95: Sequence[float]) -> str:
    """An interval of differences in points: '−1.2 to +4.0'."""
    return f"{points(ci95[0])} to {points(ci95[1])}"


def decimal(number: float) -> str:
    """A number without unit: '0.123'."""
    return f"{number:.3f}".replace("-", "−")


def decimal_interval(ci95: Sequence[float]) -> str:
    """An interval of numbers without unit: '0.101 to 0.145'."""
    return f"{decimal(ci95[0])} to {decimal(ci95[1])}"


def p_value(p: float) -> str:
    """A p value to the digits it deserves: '< 0.001', '0.012', '0.38'."""
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def p_equals(p: float) -> str:
    """A p value in running text: 'p = 0.012', 'p < 0.001'."""
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def count(number: float) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{number:,.0f}".replace(",", "\u202f").replace("-", "−")


def short(number: float) -> str:
    """A large number to three figures: '3.55 M'."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.3g}"


def listing(words: Sequence[str]) -> str:
    """Words as a sentence lists them: 'a', 'a and b', 'a, b and c'."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def plural(number: int, noun: str) -> str:
    """A counted noun: '1 task', '3 tasks'."""
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"
