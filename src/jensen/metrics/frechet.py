"""The Frechet distance of two samples by their means and covariances."""

from typing import Any

import numpy as np

from jensen.core import InputError


def frechet(x: Any, y: Any) -> float:
    """|m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x^1/2 C_y C_x^1/2)^1/2): W_2^2 of the Gaussians with the samples' moments.

    `x`, `y`: shapes (n, d) and (m, d). Zero also for different distributions with the same two moments. Biased upwards
    by about d^2 / n: compare values at equal n, beside that of two halves of real rows. O(n d^2 + d^3).

    Raises `InputError` for shapes that do not agree or fewer than two rows.
    Source: Dowson and Landau (1982); of features of images: Heusel et al. (2017).
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise InputError(f"frechet wants two samples of shape (n, d) with n >= 2, got {x.shape} and {y.shape}")
    covs = [np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (x, y)]
    values, vectors = np.linalg.eigh(covs[0])
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    inner = np.maximum(np.linalg.eigvalsh(root @ covs[1] @ root), 0)
    shift = x.mean(0) - y.mean(0)
    return float(shift @ shift + np.trace(covs[0]) + np.trace(covs[1]) - 2 * np.sum(np.sqrt(inner)))
