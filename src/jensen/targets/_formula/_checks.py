"""Checks of design columns: constant and collinear columns, and enough rows."""

from typing import Any

import numpy as np

from jensen.core import InputError


def check_rows(num_rows: int, num_columns: int) -> None:
    """Raise `InputError` unless there are more rows than coefficients (and two at least)."""
    if num_rows < max(2, num_columns + 1):
        raise InputError(
            f"Too few rows: {num_rows} for {num_columns} coefficients; more rows than coefficients are needed"
        )


def check_columns(matrix: np.ndarray, labels: list[str], centred: bool) -> None:
    """Raise `InputError` for columns (named) that are constant or a linear combination of others.

    The rank is that of the columns, centred if an intercept stands beside them, each scaled to length one, at NumPy's
    usual tolerance max(n, p) * eps * largest singular value, read off the diagonal of a pivoted QR factorisation.
    """
    from scipy.linalg import qr, solve_triangular

    if not matrix.shape[1]:
        return
    # Means of a constant column are rounded: compare with the column's own size.
    size = np.abs(matrix).max(axis=0)
    entered = matrix - matrix.mean(axis=0) if centred else matrix
    eps = np.finfo(float).eps
    constant = np.abs(entered).max(axis=0) <= len(matrix) * eps * size
    if constant.any():
        names = ", ".join(repr(labels[i]) for i in np.flatnonzero(constant))
        raise InputError(f"Constant predictors: {names}. They say nothing beside the intercept: remove them")
    scaled = entered / np.linalg.norm(entered, axis=0)
    factors: Any = qr(scaled, mode="r", pivoting=True)
    r, pivots = factors[0][: scaled.shape[1]], factors[1]
    # Centring leaves errors of eps * size / norm in a column of large mean.
    rounding = max(1.0, float((size / np.linalg.norm(entered, axis=0)).max()))
    rank = int(np.sum(np.abs(np.diag(r)) > max(scaled.shape) * eps * rounding * abs(r[0, 0])))
    if rank == scaled.shape[1]:
        return
    weights = solve_triangular(r[:rank, :rank], r[:rank, rank])
    others = [labels[pivots[i]] for i in np.flatnonzero(np.abs(weights) > np.sqrt(eps))]
    raise InputError(
        f"Collinear predictors: {labels[pivots[rank]]!r} is a linear combination of "
        f"{', '.join(map(repr, others))}{' and the intercept' if centred else ''}: remove one of them"
    )
