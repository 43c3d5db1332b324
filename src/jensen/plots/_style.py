"""One look for all figures: narrow enough for a phone, in the colours of Okabe and Ito for colour-blind readers."""

import io
import re
from typing import Any

WIDTH = 3.8  # inches: at the width of a phone the text is still 10 px high
INK, MUTED, GRID, BLUE, ORANGE, GREEN, RED, PAPER = (
    "#1b1f24",
    "#68717c",
    "#d8dde3",
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#d55e00",
    "#fefefe",
)
_NAMES = ("ink", "muted", "grid", "blue", "orange", "green", "red", "paper")
_VARIABLES: dict[str, str] = dict(zip((INK, MUTED, GRID, BLUE, ORANGE, GREEN, RED, PAPER), _NAMES, strict=True))


def new_figure(height: float, width: float = WIDTH) -> Any:
    """An empty figure that belongs to no window and no global list."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def tidy(ax: Any, grid: str | None = None) -> None:
    """Axes with two spines, small grey ticks, and light lines along `grid` ('x' or 'y')."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(MUTED)
    ax.tick_params(colors=MUTED, labelcolor=INK, labelsize=8, length=3)
    ax.xaxis.label.set(color=INK, fontsize=9)
    ax.yaxis.label.set(color=INK, fontsize=9)
    ax.patch.set_visible(False)
    if grid:
        ax.grid(axis=grid, color=GRID, linewidth=0.7)
        ax.set_axisbelow(True)


def headline(ax: Any, text: str, **settings: Any) -> None:
    """A title over the left corner, taken word for word (a name may hold dollar signs)."""
    settings = {"fontsize": 9, "fontweight": "bold", "color": INK, "pad": 4} | settings
    ax.set_title(text, loc="left", parse_math=False, **settings)


def shorten(text: str, length: int = 22) -> str:
    """`text`, or its ends with an ellipsis between them."""
    return text if len(text) <= length else f"{text[: length - 8]}…{text[-7:]}"


def to_svg(figure: Any, inline: str = "") -> str:
    """The figure as SVG text.

    With `inline`, a prefix unique in a page, colours become CSS variables of the page (`--blue` ...) and the XML
    header is left out, so that the figure follows light and dark mode.
    """
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "jensen"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    if not inline:
        return text
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{inline}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\1{inline}-", text)
    text = re.sub(r"font: ([0-9.]*px|bold [0-9.]*px)[^;\"]*", r"font: \1 var(--sans)", text)
    text = re.sub(r'<svg ([^>]*?)height="[^"]*"([^>]*?)width="[^"]*"', r'<svg role="img" \1\2', text, count=1)
    return re.sub("|".join(_VARIABLES), lambda m: f"var(--{_VARIABLES[m.group()]})", text)


def to_png(figure: Any, dpi: int = 160) -> bytes:
    """The figure as a PNG image on white."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white")
    return buffer.getvalue()
