"""Densities and intervals of every unknown."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jensen.plots._density import density
from jensen.plots._style import BLUE, INK, MUTED, PAPER, headline, new_figure, shorten, tidy

MAX_ROWS = 30  # entries shown of one array


def forest(draws: Mapping[str, np.ndarray], labels: Mapping[str, Sequence[str]] | None = None) -> Any:
    """A panel an unknown, a row an entry: density, median (dot), 50 % interval (thick) and 90 % interval (thin).

    `draws`: arrays with leading axis n; each panel has its own scale. `labels`: names of an array's entries, flat.
    Of arrays with more than 30 entries the first 30 are shown, and the title says so.
    """
    draws = {name: np.asarray(v).reshape(len(v), -1) for name, v in draws.items() if np.asarray(v).size}
    rows = [min(v.shape[1], MAX_ROWS) for v in draws.values()]
    heights = [0.42 + 0.24 * (r - 1) for r in rows]
    figure = new_figure(sum(heights) + 0.46 * len(rows) + 0.05)
    axes = figure.subplots(len(rows), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for ax, (name, values), count in zip(axes, draws.items(), rows, strict=True):
        for i in range(count):
            _row(ax, values[:, i], float(count - 1 - i))
        tidy(ax, "x")
        ax.spines["left"].set_visible(False)
        ax.set_ylim(-0.35, count - 0.05)
        ax.locator_params(axis="x", nbins=6)
        names = (
            list((labels or {}).get(name, [f"[{i}]" for i in range(values.shape[1])]))[:count]
            if values.shape[1] > 1
            else []
        )
        positions = np.arange(count - 1, count - 1 - len(names), -1)
        ax.set_yticks(positions, [shorten(str(n), 16) for n in names], parse_math=False)
        ax.tick_params(axis="y", length=0)
        more = f"  (first {count} of {values.shape[1]})" if values.shape[1] > count else ""
        headline(ax, shorten(name, 40) + more)
    return figure


def _row(ax: Any, values: np.ndarray, y: float) -> None:
    values = values[np.isfinite(values)]
    if not values.size:
        return
    x, height = density(values)
    if x.size:
        ax.fill_between(x, y, y + 0.8 * height / height.max(), color=BLUE, alpha=0.25, linewidth=0)
        ax.plot(x, y + 0.8 * height / height.max(), color=BLUE, linewidth=0.9)
    low, quarter, median, three, high = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
    ax.plot([low, high], [y - 0.12] * 2, color=MUTED, linewidth=1.2, solid_capstyle="butt")
    ax.plot([quarter, three], [y - 0.12] * 2, color=INK, linewidth=3.2, solid_capstyle="butt")
    ax.plot([median], [y - 0.12], "o", color=PAPER, markeredgecolor=INK, markersize=4.5)
