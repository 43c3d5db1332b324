"""Intrinsic kriging: regression with a conditionally positive definite kernel and a flat prior on polynomials."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import Compiled, InputError, require
from jensen.gp._linalg import explain, solve_lower, solve_upper
from jensen.gp.evidence import SpectralEvidence, spectral_evidence
from jensen.gp.kernels.polyharmonic import Polyharmonic, monomials


class IntrinsicKriging(eqx.Module):
    """The posterior of f = sum_j b_j p_j + g, b flat, g of generalised covariance phi, given y = f(x) + noise.

    With Phi_ij = phi(x_i, x_j), P_ij = p_j(x_i) (polynomials of degree below the kernel's order), lambda the noise
    ratio: the mean is sum_i c_i phi(x, x_i) + sum_j b_j p_j(x) with [Phi + lambda I, P; P^T, 0] [c; b] = [y; 0], and
    the variance amplitude * (phi(0) - [k; p]^T [Phi + lambda I, P; P^T, 0]^-1 [k; p]) with k_i = phi(x, x_i). The
    saddle system is solved on the null space of P^T, where it is positive definite.

    Made by `intrinsic_kriging`; a prediction costs n^2 a point.

    `amplitude`: the variance that multiplies phi, in units of y^2 / length^(2s). `noise_ratio`: lambda = noise variance
    / amplitude, of unit length^(2s): when all inputs are multiplied by c, the same fit has lambda multiplied by
    c^(2s), and lambda = 0 (interpolation) needs no change.
    """

    kernel: Polyharmonic
    x: Float[Array, "n d"]
    coefficients: Float[Array, " n"]
    trend: Float[Array, " m"]
    amplitude: Float[Array, ""]
    noise_ratio: Float[Array, ""]
    frame: tuple[Float[Array, " d"], Float[Array, ""]]  # centre and width of x, for the polynomials alone
    basis: tuple[Float[Array, "n m"], Float[Array, "m m"], Float[Array, "n free"]]  # P = Q1 R, and Q2 with P^T Q2 = 0
    tril: Float[Array, "free free"]  # of Q2^T (Phi + lambda I) Q2

    def mean(self, x: Float[Array, "k d"]) -> Float[Array, " k"]:
        """Posterior mean of f at the rows of x. Raises `InputError` for another number of columns."""
        self._check(x)
        return _mean(self, x)

    def variance(self, x: Float[Array, "k d"]) -> Float[Array, " k"]:
        """Posterior variance of f (without noise): 0 at the data where lambda = 0, unbounded far from them.

        Raises `InputError` for another number of columns.
        """
        self._check(x)
        return _variance(self, x)

    def _check(self, x: Any) -> None:
        wanted = self.x.shape[1]
        require(jnp.ndim(x) == 2 and jnp.shape(x)[1] == wanted, f"x must have shape (k, {wanted}), got {jnp.shape(x)}")


def intrinsic_kriging(kernel: Polyharmonic, x: Any, y: Any, noise_ratio: Any) -> IntrinsicKriging:
    """Fit intrinsic kriging to x (n, d) and y (n,) with noise ratio lambda >= 0: two factorisations, n^3.

    The amplitude is that of the largest restricted evidence at this lambda: z^T (Q2^T (Phi + lambda I) Q2)^-1 z /
    (n - m) with z = Q2^T y. For a lambda of the largest restricted evidence, see `restricted_evidence`.

    Raises `InputError` for data that are not finite or of other shapes, fewer than m + 1 rows, inputs on which a
    polynomial of the trend vanishes, repeated inputs without noise, or a negative lambda.
    """
    x, y = _check_data(kernel, x, y)
    ratio = float(noise_ratio)
    require(np.isfinite(ratio) and ratio >= 0, f"noise_ratio must be 0 or more, got {noise_ratio}")
    fit = _fit(kernel, x, y, jnp.asarray(ratio, x.dtype))
    _check_trend(kernel, fit.basis[1], len(x))
    pivots = jnp.diagonal(fit.tril) ** 2
    if not bool(jnp.min(pivots) > jnp.finfo(x.dtype).eps * len(x) * jnp.max(pivots)):  # NaN, or nothing but rounding
        raise explain(kernel, x)
    return fit


def restricted_evidence(kernel: Polyharmonic, x: Any, y: Any) -> SpectralEvidence:
    """The evidence of the n - m contrasts Q2^T y, which the flat trend leaves: REML, as a function of scale and noise.

    `scale, noise = restricted_evidence(kernel, x, y).best()` gives the amplitude and the noise variance of the largest
    restricted evidence, and `noise / scale` the noise ratio of `intrinsic_kriging`. Evidences of two kernels may be
    compared only where their trends are the same. Raises `InputError` as `intrinsic_kriging` does.

    Source: Patterson and Thompson (1971), Recovery of inter-block information when block sizes are unequal.
    """
    x, y = _check_data(kernel, x, y)
    evidence, r = _contrast_evidence(kernel, x, y)
    _check_trend(kernel, r, len(x))
    return evidence


@Compiled
def _fit(kernel: Polyharmonic, x: Array, y: Array, ratio: Array) -> IntrinsicKriging:
    (q1, r, q2), frame = _bases(kernel, x)
    phi = kernel(x, x) + ratio * jnp.eye(len(x), dtype=x.dtype)
    tril = jnp.linalg.cholesky(q2.T @ phi @ q2)
    white = solve_lower(tril, q2.T @ y)
    coefficients = q2 @ solve_upper(tril, white)
    trend = jax.scipy.linalg.solve_triangular(r, q1.T @ (y - phi @ coefficients))
    return IntrinsicKriging(kernel, x, coefficients, trend, jnp.mean(white**2), ratio, frame, (q1, r, q2), tril)


@Compiled
def _contrast_evidence(kernel: Polyharmonic, x: Array, y: Array) -> tuple[SpectralEvidence, Array]:
    (_, r, q2), _ = _bases(kernel, x)
    return spectral_evidence(q2.T @ kernel(x, x) @ q2, q2.T @ y), r


@Compiled
def _mean(fit: IntrinsicKriging, x: Array) -> Array:
    return fit.kernel(x, fit.x) @ fit.coefficients + _polynomials(fit.kernel, x, fit.frame) @ fit.trend


@Compiled
def _variance(fit: IntrinsicKriging, x: Array) -> Array:
    q1, r, q2 = fit.basis
    k, p = fit.kernel(fit.x, x), _polynomials(fit.kernel, x, fit.frame).T
    smooth = fit.kernel(fit.x, fit.x) + fit.noise_ratio * jnp.eye(len(fit.x), dtype=fit.x.dtype)
    exact = q1 @ jax.scipy.linalg.solve_triangular(r, p, trans=1)  # weights that are right on polynomials
    free = solve_lower(fit.tril, q2.T @ (k - smooth @ exact))
    left = jnp.sum(exact * (smooth @ exact - 2 * k), axis=0) - jnp.sum(free**2, axis=0)
    return fit.amplitude * jnp.maximum(left + fit.kernel(x), 0.0)


def _polynomials(kernel: Polyharmonic, x: Array, frame: tuple[Array, Array]) -> Array:
    centre, width = frame
    return monomials((x - centre) / width, kernel.order)


def _bases(kernel: Polyharmonic, x: Array) -> tuple[tuple[Array, Array, Array], tuple[Array, Array]]:
    centre = jnp.mean(x, axis=0)
    width = jnp.max(jnp.abs(x - centre))
    frame = centre, jnp.where(width > 0, width, 1.0)
    p = _polynomials(kernel, x, frame)
    m = p.shape[1]
    q, r = jnp.linalg.qr(p, mode="complete")
    return (q[:, :m], r[:m], q[:, m:]), frame


def _check_trend(kernel: Polyharmonic, r: Array, n: int) -> None:
    size = jnp.abs(jnp.diagonal(r))
    require(
        bool(jnp.min(size) > 1e3 * jnp.finfo(r.dtype).eps * jnp.max(size)),
        f"A polynomial of degree below {kernel.order} vanishes at all {n} inputs (they lie on a line, plane or such), "
        "so the trend is not identified: leave constant or dependent columns out, or take a smaller smoothness",
    )


def _check_data(kernel: Polyharmonic, x: Any, y: Any) -> tuple[Array, Array]:
    require(isinstance(kernel, Polyharmonic), f"kernel must be Polyharmonic, got {type(kernel).__name__}")
    x, y = jnp.asarray(x, jnp.result_type(float)), jnp.asarray(y, jnp.result_type(float))
    if x.ndim != 2 or y.shape != (len(x),):
        raise InputError(f"x must have shape (n, d) and y (n,), got {x.shape} and {y.shape}")
    for name, value in (("x", x), ("y", y)):
        require(bool(np.all(np.isfinite(value))), f"{name} has a value that is NaN or infinite")
    m = math.comb(x.shape[1] + kernel.order - 1, kernel.order - 1)
    words = f"the {m} polynomials of degree below {kernel.order}"
    require(len(x) > m, f"{len(x)} rows cannot tell {words} from the rest: give at least {m + 1} rows")
    return x, y
