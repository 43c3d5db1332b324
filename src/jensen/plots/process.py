"""A function with its uncertainty over one input."""

from typing import Any

import numpy as np

from jensen.plots._style import BLUE, INK, headline, new_figure, tidy


def process(
    x: Any,
    mean: Any,
    sd: Any,
    observed: tuple[Any, Any] | None = None,
    title: str = "",
    labels: tuple[str, str] = ("x", "f"),
) -> Any:
    """Mean (line), 50 % and 90 % bands of a function at inputs `x` (m,), from its mean and standard deviation (m,).

    `observed`: inputs and values of the data, drawn as points. The inputs need not be sorted. `labels`: of the axes.
    """
    x, mean, sd = (np.asarray(a, float).ravel() for a in (x, mean, sd))
    order = np.argsort(x)
    x, mean, sd = x[order], mean[order], sd[order]
    figure = new_figure(2.4)
    ax = figure.subplots()
    for width, alpha in ((1.645, 0.18), (0.674, 0.3)):
        ax.fill_between(x, mean - width * sd, mean + width * sd, color=BLUE, alpha=alpha, linewidth=0)
    ax.plot(x, mean, color=BLUE, linewidth=1.4)
    if observed is not None:
        ax.plot(*(np.asarray(a, float).ravel() for a in observed), ".", color=INK, markersize=3, alpha=0.7)
    tidy(ax, "y")
    ax.set_xlabel(labels[0], parse_math=False)
    ax.set_ylabel(labels[1], parse_math=False)
    if title:
        headline(ax, title)
    return figure
