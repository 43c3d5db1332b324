"""Gaussian processes on grids: covariances that are Kronecker products, one factor an axis, never multiplied out."""

import functools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import InputError, require
from jensen.gp._linalg import cholesky, solve_lower, solve_upper
from jensen.gp.evidence import SpectralEvidence
from jensen.gp.kernels.stationary import as_rows


def along_axes(functions: Sequence[Any], values: Array) -> Array:
    """Apply functions[j], linear maps of the columns of a matrix, along axis j of a grid of values."""
    for axis, function in enumerate(functions):
        moved = jnp.moveaxis(values, axis, 0)
        done = function(moved.reshape(moved.shape[0], -1))
        values = jnp.moveaxis(done.reshape(done.shape[0], *moved.shape[1:]), 0, axis)
    return values


def kronecker_matvec(factors: Sequence[Array], values: Array) -> Array:
    """(A_1 x ... x A_D) v for v held as a grid (n_1, ..., n_D): N sum_j n_j operations, N the number of grid points."""
    return along_axes([lambda block, a=a: a @ block for a in factors], values)


class Kronecker(eqx.Module):
    """N(0, K_1 x ... x K_D) over the values on a grid, from the Cholesky factors L_j of its axes.

    Values are held as grids (n_1, ..., n_D). With N = prod n_j points, time is N sum_j n_j + sum_j n_j^3 and memory
    N + sum_j n_j^2: the N x N covariance is never made. Each K_j gets the jitter of `jensen.gp` on its diagonal.

    `trils`: L_j, (n_j, n_j). Made by `kronecker_prior`.

    Source: Saatci (2011), Scalable inference for structured Gaussian process models.
    """

    trils: tuple[Array, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_1, ..., n_D)."""
        return tuple(len(tril) for tril in self.trils)

    def from_white(self, z: Array) -> Array:
        """(L_1 x ... x L_D) z: a draw, for white z ~ N(0, I) of the grid's shape (or flat)."""
        return kronecker_matvec(self.trils, z.reshape(self.shape))

    def to_white(self, values: Array) -> Array:
        """(L_1 x ... x L_D)^-1 values, of the grid's shape."""
        return along_axes([functools.partial(solve_lower, tril) for tril in self.trils], values.reshape(self.shape))

    def matvec(self, values: Array) -> Array:
        """K values."""
        down = along_axes([lambda block, t=tril: t.T @ block for tril in self.trils], values.reshape(self.shape))
        return kronecker_matvec(self.trils, down)

    def solve(self, values: Array) -> Array:
        """K^-1 values."""
        return along_axes([functools.partial(solve_upper, tril) for tril in self.trils], self.to_white(values))

    def log_det(self) -> Float[Array, ""]:
        """log det K = 2 sum_j (N / n_j) sum_i log (L_j)_ii."""
        size = functools.reduce(lambda a, b: a * b, self.shape, 1)
        return sum((2 * size / len(t) * jnp.sum(jnp.log(jnp.diagonal(t))) for t in self.trils), jnp.zeros(()))

    def log_prob(self, values: Array) -> Float[Array, ""]:
        """log N(values; 0, K) in nats."""
        white = self.to_white(values)
        return -0.5 * (jnp.sum(white**2) + self.log_det() + white.size * jnp.log(2 * jnp.pi))


def kronecker_prior(kernels: Sequence[Any], axes: Sequence[Any]) -> Kronecker:
    """The product kernel prod_j k_j(x_j, x'_j) on the grid of `axes`, the coordinates (n_j,) of each axis.

    Raises `InputError` if kernels and axes are not as many, or an axis is not a vector.
    """
    check_axes(kernels, axes)
    return Kronecker(tuple(cholesky(k(as_rows(x), as_rows(x))) for k, x in zip(kernels, axes, strict=True)))


class KroneckerRegression(eqx.Module):
    """Exact regression of y = f + N(0, noise) on a full grid, from the eigenvectors V_j of each axis.

    K_1 x ... x K_D + noise I has eigenvectors V_1 x ... x V_D and eigenvalues prod_j l_j + noise, so that evidence,
    mean and variance on the grid are exact at N sum_j n_j + sum_j n_j^3.

    `evidence`: a `SpectralEvidence`, whose `best()` gives the scale and noise of the largest evidence at O(N) a value.
    Made by `kronecker_regression`; every grid point must have been observed.
    """

    vectors: tuple[Array, ...]
    evidence: SpectralEvidence

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_1, ..., n_D)."""
        return tuple(len(v) for v in self.vectors)

    def mean(self, scale: Any, noise: Any) -> Array:
        """Posterior mean of f on the grid, for covariance scale K_1 x ... x K_D."""
        share = scale * self.evidence.eigenvalues / (scale * self.evidence.eigenvalues + noise)
        return kronecker_matvec(self.vectors, (share * self.evidence.projections).reshape(self.shape))

    def variance(self, scale: Any, noise: Any) -> Array:
        """Posterior variance of f on the grid, without noise."""
        spread = scale * self.evidence.eigenvalues
        left = (spread * noise / (spread + noise)).reshape(self.shape)
        return kronecker_matvec([v**2 for v in self.vectors], left)


def kronecker_regression(kernels: Sequence[Any], axes: Sequence[Any], y: Any) -> KroneckerRegression:
    """Regress grid values y (n_1, ..., n_D) on the product kernel. Raises `InputError` for other shapes, or NaN."""
    check_axes(kernels, axes)
    y = jnp.asarray(y, jnp.result_type(float))
    shape = tuple(len(x) for x in axes)
    if y.shape != shape:
        raise InputError(f"y must be a grid of shape {shape}, as the axes are, got {y.shape}")
    require(bool(np.all(np.isfinite(y))), "y has a value that is NaN or infinite: every grid point must be observed")
    pairs = [jnp.linalg.eigh(k(as_rows(x), as_rows(x))) for k, x in zip(kernels, axes, strict=True)]
    eigenvalues = functools.reduce(jnp.multiply.outer, [jnp.maximum(e, 0.0) for e, _ in pairs])
    vectors = tuple(v for _, v in pairs)
    projections = kronecker_matvec([v.T for v in vectors], y)
    return KroneckerRegression(vectors, SpectralEvidence(eigenvalues.ravel(), projections.ravel()))


def check_axes(kernels: Sequence[Any], axes: Sequence[Any]) -> None:
    """Refuse axes that are not vectors, or not as many as the kernels. Raises `InputError`."""
    require(
        len(kernels) == len(axes) and len(axes) > 0,
        f"One kernel an axis is wanted, got {len(kernels)} kernels and {len(axes)} axes",
    )
    for j, x in enumerate(axes):
        require(jnp.ndim(x) == 1, f"Axis {j} must be a vector of coordinates, got shape {jnp.shape(x)}")
