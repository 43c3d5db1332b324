"""What Gaussian algorithms share: where they start, and expected derivatives of a log density under a Gaussian."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from jensen._numerics.newton import value_gradient_hessian
from jensen.core import DensityPosterior, PointPosterior, Posterior, PRNGKey, Scalar, spread
from jensen.families import DiagonalGaussian, Gaussian

POINT_SCALE = (
    0.1  # standard deviation of the first q about a point: a point tells none, and too wide is the worse error
)


def start_gaussian(start: Posterior) -> Gaussian:
    """The Gaussian to begin from: the start's own where it has one, N(z, 0.01 I) about a point, else its moments.

    A covariance of rank less than d (few draws) is lifted by 1e-6 of its mean variance.
    """
    if isinstance(start, PointPosterior):
        d = start.z.shape[0]
        return Gaussian(start.z, POINT_SCALE * jnp.eye(d, dtype=start.z.dtype))
    if isinstance(start, DensityPosterior) and isinstance(start.q, Gaussian):
        return Gaussian(start.q.mean, jnp.tril(start.q.scale_tril))
    if isinstance(start, DensityPosterior) and isinstance(start.q, DiagonalGaussian):
        return Gaussian(start.q.mean, jnp.diag(jnp.exp(start.q.log_scale)))
    mean, cov = start.mean_and_cov()
    d = mean.shape[0]
    lift = (1e-6 * jnp.trace(cov) / d + jnp.finfo(cov.dtype).tiny) * jnp.eye(d, dtype=cov.dtype)
    return Gaussian(mean, jnp.linalg.cholesky(cov + lift))


def antithetic_noise(key: PRNGKey, num_draws: int, dimension: int, dtype: Any) -> Float[Array, "num_draws d"]:
    """Standard normal noise in pairs (eps, -eps), so that odd moments are exact; `num_draws` is even."""
    half = jax.random.normal(key, (num_draws // 2, dimension), dtype)
    return spread(jnp.concatenate([half, -half]))


def expected_derivatives(
    key: PRNGKey, q: Gaussian, target: Any, num_draws: int
) -> tuple[Scalar, Float[Array, " d"], Float[Array, "d d"]]:
    """(E_q[log p], E_q[grad log p], E_q[hess log p]) by `num_draws` antithetic draws: d + 1 gradients' work a draw.

    Unbiased; exact in the Hessian where log p is quadratic, and in the gradient too, since pairs cancel about the mean.
    """
    noise = antithetic_noise(key, num_draws, q.dimension, q.mean.dtype)
    value, gradient, hessian = jax.vmap(lambda e: value_gradient_hessian(target.log_density, q.from_noise(e)))(noise)
    return jnp.mean(value), jnp.mean(gradient, 0), jnp.mean(hessian, 0)


def expected_derivatives_stein(
    key: PRNGKey, q: Gaussian, target: Any, num_draws: int
) -> tuple[Scalar, Float[Array, " d"], Float[Array, "d d"]]:
    """As `expected_derivatives`, from gradients alone: E_q[hess log p] = E_q[S^-1 (z - m) grad log p^T] (Price, Stein).

    One gradient a draw. Antithetic pairs cancel the mean gradient out of the product, which is symmetrised; its
    relative variance is of order d / num_draws. Unbiased.
    """
    noise = antithetic_noise(key, num_draws, q.dimension, q.mean.dtype)
    values, slopes = jax.vmap(jax.value_and_grad(target.log_density))(jax.vmap(q.from_noise)(noise))
    product = noise.T @ slopes / num_draws  # E[eps grad^T] = L^T E[hess]
    hessian = solve_triangular(q.scale_tril, product, lower=True, trans="T")
    return jnp.mean(values), jnp.mean(slopes, 0), 0.5 * (hessian + hessian.T)


def stationarity(q: Gaussian, gradient: Float[Array, " d"], hessian: Float[Array, "d d"]) -> Scalar:
    """sqrt(|L^T g|^2 + |L^T H L + I|_F^2) for g, H the expected derivatives of log p: 0 where the ELBO is stationary.

    It does not change when z is transformed linearly: both terms are in units of q's standard deviations.
    """
    tril = q.scale_tril
    curvature = tril.T @ hessian @ tril + jnp.eye(q.dimension, dtype=tril.dtype)
    return jnp.sqrt(jnp.sum((tril.T @ gradient) ** 2) + jnp.sum(curvature**2))


def bures_wasserstein_norm(q: Gaussian, gradient: Float[Array, " d"], hessian: Float[Array, "d d"]) -> Scalar:
    """sqrt(|g|^2 + tr((H + S^-1) S (H + S^-1))): the norm of the Bures-Wasserstein gradient of KL(q || p)."""
    factor = hessian @ q.scale_tril + solve_triangular(q.scale_tril, jnp.eye(q.dimension), lower=True, trans="T")
    return jnp.sqrt(jnp.sum(gradient**2) + jnp.sum(factor**2))


def lower_factor(root: Float[Array, "d k"]) -> Float[Array, "d d"]:
    """L lower triangular with positive diagonal and L L^T = root root^T, by QR: no squared condition number."""
    triangle = jnp.linalg.qr(root.T, mode="r").T
    return triangle * jnp.where(jnp.diagonal(triangle) < 0, -1.0, 1.0)
