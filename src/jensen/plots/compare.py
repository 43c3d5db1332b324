"""Methods side by side: time, and how good the result is."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jensen.plots._style import BLUE, GREEN, INK, MUTED, ORANGE, headline, new_figure, shorten, tidy


def comparison(
    names: Sequence[str],
    seconds: Sequence[float],
    certified: Sequence[bool],
    quality: Sequence[float],
    quality_name: str,
) -> Any:
    """Two panels, a row a method: seconds (green where certified) and `quality`, smaller is better (NaN: not known)."""
    figure = new_figure(0.6 * len(names) + 1.8)
    top, bottom = figure.subplots(2, 1, sharey=True)
    places = np.arange(len(names))[::-1]
    top.barh(places, seconds, height=0.6, color=[GREEN if c else ORANGE for c in certified])
    headline(top, "Seconds, compilation included (green: certified)")
    known = np.isfinite(np.asarray(quality, float))
    bottom.plot(np.asarray(quality, float)[known], places[known], "o", color=BLUE, markersize=7)
    for y, value, ok in zip(places, quality, known, strict=True):
        bottom.annotate(
            f"{value:.3g}" if ok else "not known",
            (value if ok else 0, y),
            (6, 5),
            textcoords="offset points",
            fontsize=8,
            color=INK if ok else MUTED,
        )
    headline(bottom, shorten(quality_name, 60))
    for ax in (top, bottom):
        tidy(ax, "x")
        ax.set_yticks(places, [shorten(n, 18) for n in names], parse_math=False)
        ax.set_ylim(-0.6, len(names) - 0.4)
        ax.set_xlim(left=0)
    return figure
