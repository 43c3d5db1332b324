"""What was tried and what it cost."""

from collections.abc import Sequence
from typing import Any

from jensen.plots._style import GREEN, INK, ORANGE, new_figure, shorten, tidy


def cost(names: Sequence[str], seconds: Sequence[float], certified: Sequence[bool]) -> Any:
    """A bar a run, in order: wall seconds including compilation; green where the result was certified."""
    figure = new_figure(0.36 * len(names) + 0.75)
    ax = figure.subplots()
    places = range(len(names) - 1, -1, -1)
    ax.barh(list(places), seconds, height=0.62, color=[GREEN if c else ORANGE for c in certified])
    top = max([*seconds, 1e-9])
    for y, s, c in zip(places, seconds, certified, strict=True):
        ax.text(s + 0.015 * top, y, f"{s:.2f} s" + (", certified" if c else ""), va="center", fontsize=8, color=INK)
    tidy(ax, "x")
    ax.set_yticks(list(places), [shorten(n, 18) for n in names], parse_math=False)
    ax.set(xlabel="seconds, compilation included", xlim=(0, 1.42 * top))
    return figure
