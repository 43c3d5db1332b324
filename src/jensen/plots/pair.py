"""The pair of coordinates that depend on each other most."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jensen.plots._style import BLUE, INK, RED, new_figure, tidy

MAX_COORDINATES = 100
MAX_POINTS = 900


def worst_pair(z: np.ndarray) -> tuple[int, int, float]:
    """(i, j, dependence) of the two columns of z, shape (n, d), that depend on each other most.

    Dependence is the largest of |rank correlation| of (z_i, z_j), (|z_i - median|, z_j) and (z_i, |z_j - median|): the
    first sees ridges, the others funnels and bananas. With more than 100 columns, evenly spaced ones are searched.
    Needs d >= 2.
    """
    z = np.asarray(z, float)
    columns = np.unique(np.linspace(0, z.shape[1] - 1, min(z.shape[1], MAX_COORDINATES)).astype(int))
    ranks = _ranks(z[:, columns])
    folded = _ranks(np.abs(ranks))
    straight = np.abs(ranks.T @ ranks)
    bent = np.abs(folded.T @ ranks)
    score = np.maximum(straight, np.maximum(bent, bent.T))
    score[np.tril_indices(len(columns))] = -1.0
    i, j = np.unravel_index(np.argmax(score), score.shape)
    return int(columns[i]), int(columns[j]), float(score[i, j])


def _ranks(z: np.ndarray) -> np.ndarray:
    ranks = np.argsort(np.argsort(z, axis=0), axis=0).astype(float)
    ranks -= ranks.mean(0)
    return ranks / np.sqrt((ranks**2).sum(0))


def pair(
    x: np.ndarray,
    y: np.ndarray,
    names: Sequence[str],
    logarithmic: Sequence[bool] = (False, False),
    diverging: np.ndarray | None = None,
) -> Any:
    """Draws of two coordinates, shape (n,) each; `logarithmic` says which axes are; diverging draws are marked."""
    figure = new_figure(3.6)
    ax = figure.subplots()
    chosen = np.linspace(0, len(x) - 1, min(len(x), MAX_POINTS)).astype(int)
    ax.plot(x[chosen], y[chosen], "o", color=BLUE, markersize=2.6, alpha=0.45, markeredgewidth=0)
    if diverging is not None and np.any(diverging):
        bad = np.flatnonzero(diverging)[:MAX_POINTS]
        ax.plot(x[bad], y[bad], "x", color=RED, markersize=5, label="diverged")
        ax.legend(frameon=False, fontsize=8, labelcolor=INK)
    tidy(ax)
    if logarithmic[0] and np.all(x[chosen] > 0):
        ax.set_xscale("log")
    if logarithmic[1] and np.all(y[chosen] > 0):
        ax.set_yscale("log")
    ax.set_xlabel(names[0], parse_math=False)
    ax.set_ylabel(names[1], parse_math=False)
    return figure
