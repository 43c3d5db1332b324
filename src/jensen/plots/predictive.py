"""Posterior predictive check: data that the fitted model would give, beside the data."""

from typing import Any

import numpy as np

from jensen.plots._density import density
from jensen.plots._style import BLUE, INK, headline, new_figure, shorten, tidy

MAX_LINES = 40
MAX_BARS = 40


def predictive_check(replicated: np.ndarray, observed: np.ndarray, name: str = "y") -> Any:
    """`replicated`, shape (n, ...), beside `observed`, shape (...).

    Data of few whole values: counts with 90 % bands. Else densities, 40 replicates in blue under the data in black.
    """
    observed = np.asarray(observed).ravel()
    replicated = np.asarray(replicated).reshape(len(replicated), -1)
    figure = new_figure(2.7)
    ax = figure.subplots()
    whole = all(np.all(v[np.isfinite(v)] % 1 == 0) for v in (observed.astype(float), replicated.astype(float)))
    if whole and np.ptp(observed.astype(float)) < MAX_BARS:
        _bars(ax, replicated, observed)
    else:
        _lines(ax, replicated, observed)
    tidy(ax, "y")
    ax.set_xlabel(shorten(name, 40), parse_math=False)
    ax.set_ylim(0, 1.22 * ax.get_ylim()[1])  # room for the legend
    legend = ax.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper center", ncols=2)
    for line in legend.get_lines():  # the replicates' own faint lines would be lost there
        line.set(alpha=1, linewidth=max(1.5, line.get_linewidth()))
    headline(ax, "Data and what the model would give")
    return figure


def _bars(ax: Any, replicated: np.ndarray, observed: np.ndarray) -> None:
    observed = observed.astype(float)
    values = np.arange(observed.min(), observed.max() + 1)
    counts = np.stack([(replicated == v).sum(1) for v in values], 1)
    low, middle, high = np.quantile(counts, [0.05, 0.5, 0.95], axis=0)
    ax.bar(values, [(observed == v).sum() for v in values], width=0.8, color=BLUE, alpha=0.35, label="data")
    ax.errorbar(
        values,
        middle,
        [middle - low, high - middle],
        fmt="o",
        color=INK,
        markersize=4,
        linewidth=1.4,
        label="model, 90 %",
    )
    ax.locator_params(axis="x", integer=True)
    if len(values) <= 5:
        ax.set_xticks(values)
    ax.set_ylabel("count")


def _lines(ax: Any, replicated: np.ndarray, observed: np.ndarray) -> None:
    finite = observed[np.isfinite(observed)]
    ends = np.quantile(np.concatenate([finite, replicated[:MAX_LINES].ravel()]), [0.005, 0.995])
    for i, row in enumerate(replicated[:: max(1, len(replicated) // MAX_LINES)][:MAX_LINES]):
        x, height = density(row, 100, *ends)
        ax.plot(x, height, color=BLUE, linewidth=0.6, alpha=0.35, label=None if i else "model")
    x, height = density(finite, 150, *ends)
    ax.plot(x, height, color=INK, linewidth=2, label="data")
    ax.set_ylabel("density")
