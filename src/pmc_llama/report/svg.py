"""Matplotlib drawings as inline SVG that takes its colours and font from the page, light or dark."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from pmc_llama.recipe.comparisons import OWN_MODELS
from pmc_llama.report.layout import Column, Row, Table

# Colours that the page defines: drawn as stand-ins, which are then replaced by CSS variables.
INK, MUTED, RULE, PAPER, BASE, ADAPTED, GENERAL, LOSS = (f"#0102{i}" for i in range(10, 18))
OTHERS = tuple(f"#0102{i}" for i in range(18, 22))
_CSS = {
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    PAPER: "paper",
    BASE: "base",
    ADAPTED: "adapted",
    GENERAL: "general",
    LOSS: "loss",
} | {colour: f"other-{number}" for number, colour in enumerate(OTHERS, 1)}
WIDTH_IN, HEIGHT_IN = 5.6, 3.2
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pmc-llama",
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "figure.facecolor": "none",
}


@dataclass(frozen=True)
class Figure:
    """A figure of the page: drawing, what it shows in words, and its numbers as a table."""

    name: str
    title: str
    alt: str
    svg: Markup
    table: Table


def figure(
    name: str,
    title: str,
    plot: Callable[[Axes], None],
    *,
    alt: str,
    columns: Sequence[Column],
    rows: Sequence[Row],
    note: str = "",
    height_in: float = HEIGHT_IN,
) -> Figure:
    """Draw one panel with `plot`; the same drawing gives the same bytes."""
    with matplotlib.rc_context(_STYLE):
        canvas = Canvas(figsize=(WIDTH_IN, height_in), layout="constrained")
        plot(canvas.add_subplot())
        out = io.StringIO()
        canvas.savefig(out, format="svg", metadata={"Date": None})
    svg = Markup(_for_page(out.getvalue(), name, alt))
    return Figure(name, title, alt, svg, Table(name, title, columns, rows, note))


def model_colours(models: Sequence[str]) -> dict[str, str]:
    """A colour for each model: base and adapted have their own, the others take turns."""
    others = [name for name in models if name not in OWN_MODELS]
    return {"base": BASE, "adapted": ADAPTED} | {
        name: OTHERS[number % len(OTHERS)] for number, name in enumerate(others)
    }


def legend(axes: Axes) -> None:
    """A legend above the panel, at the left, in one line."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=4,
        borderpad=0,
        borderaxespad=0.2,
        handlelength=1.4,
        columnspacing=1.4,
    )


def _for_page(svg: str, name: str, alt: str) -> str:
    """Strip what belongs to files, make ids unique on the page, put in the page's colours and words for readers."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style).*?</\1>\s*|<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\1{name}-", svg)
    opening = f'<svg viewBox="\\1" role="img" aria-label="{Markup.escape(alt)}">'
    svg = re.sub(r'<svg [^>]*viewBox="([^"]+)"[^>]*>', opening.replace("\\", "\\"), svg, count=1)
    svg = re.sub(r"font: [^;\"]*?(\d+(?:\.\d+)?px)[^;\"]*", r"font-size: \1", svg)
    for colour, variable in _CSS.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg
