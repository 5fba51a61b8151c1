"""Charts as SVG inside of a page: they take its colors, light or dark, and its font.

Colors are drawn as placeholders and become variables of the page's style sheet. Texts stay texts.
Nothing of a drawing names an address on a network, not even that of the SVG namespace.
"""

import io
import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:  # a page without charts should not wait for its imports
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns of a home that it cannot write

WIDTH, HEIGHT = 4.2, 2.9  # inches; small enough that texts can be read on a phone
INK, FAINT, LINE, GROUND = "#010101", "#020202", "#030303", "#040404"
SERIES = tuple(f"#0505{number:02x}" for number in range(1, 8))  # the page has as many colors
_VARIABLES = {INK: "ink", FAINT: "faint", LINE: "line", GROUND: "raised"} | {
    color: f"series-{number}" for number, color in enumerate(SERIES, 1)
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}


def draw(
    name: str,
    label: str,
    paint: "Callable[[Axes], Any]",
    width: float = WIDTH,
    height: float = HEIGHT,
) -> Markup:
    """A chart as inline SVG.

    name: unique in the page. label: what it shows, for who cannot see it. paint: draws on the axes,
    with the colors of this module alone. width, height: inches.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=(width, height), layout="constrained")
        paint(figure.add_subplot())
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return Markup(_inline(file.getvalue(), label))


def log_counts(axes: "Axes") -> None:
    """A logarithmic x axis of counts, as in 1, 10, 100 and 1,000."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_minor_formatter(lambda *_: "")


def whole_numbers(axis: "Axis") -> None:
    """Ticks of an axis at whole numbers alone."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=7, integer=True, min_n_ticks=1))


def _inline(svg: str, label: str) -> str:
    """The SVG element alone, without namespaces, metadata, a style for all, and unused ids."""
    svg = svg[svg.index("<svg") :]
    for part in ("metadata", "style"):
        svg = re.sub(rf"<{part}.*?</{part}>", "", svg, count=1, flags=re.DOTALL)
    head, body = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None, "an SVG of matplotlib has a viewBox"
    body = re.sub(r'<g id="[^"]*"', "<g", body).replace("xlink:href", "href")
    body = re.sub(r"font: (\d+(?:\.\d+)?px) [^;\"]*", r"font-size: \1", body)
    for color, variable in _VARIABLES.items():
        body = body.replace(color, f"var(--{variable})")
    return f'<svg {box[0]} role="img" aria-label="{escape(label)}">{body}'
