"""Maximum mean discrepancy."""

import math
from typing import Any

import numpy as np

from jensen.core import InputError


def mmd(x: Any, y: Any, bandwidth: float | None = None) -> tuple[float, float]:
    """(estimate, standard error) of MMD^2 between two samples, with kernel exp(-|a - b|^2 / (2 h^2)).

    MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y), zero only if the distributions are equal; the estimate is unbiased,
    and so may be negative. `x`, `y`: shapes (n, d) and (m, d); of the longer one the first min(n, m) rows are used.
    `bandwidth` h: the median distance between rows of both samples where None. O(n^2 d) time, O(n^2) memory: a few
    thousand rows.

    The standard error has both terms of the variance of a U-statistic, and so holds also where the distributions are
    equal.

    Raises `InputError` for shapes that do not agree or fewer than 4 rows.
    Source: Gretton, Borgwardt, Rasch, Schoelkopf, Smola (2012), equation 3 and section 6.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 4:
        raise InputError(f"mmd wants two samples of shape (n, d) with n >= 4, got {x.shape} and {y.shape}")
    n = min(len(x), len(y))
    rows = np.concatenate([x[:n], y[:n]])
    square = np.sum(rows**2, 1)
    distance = np.maximum(square[:, None] + square - 2 * rows @ rows.T, 0.0)
    h2 = bandwidth**2 if bandwidth is not None else float(np.median(distance[np.triu_indices(2 * n, 1)]))
    k = np.exp(-0.5 * distance / h2)
    core = k[:n, :n] + k[n:, n:] - k[:n, n:] - k[n:, :n]
    np.fill_diagonal(core, 0.0)
    value = core.sum() / (n * (n - 1))
    first = np.var(core.sum(1) / (n - 1), ddof=1)
    second = np.var(core[~np.eye(n, dtype=bool)])
    return float(value), math.sqrt(4 * first / n + 2 * second / (n * (n - 1)))
