"""A Gaussian of any dimension and condition number."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey, Scalar, Space, as_scalar, real_space, require
from jensen.targets.synthetic._base import SyntheticTarget

_LOG_2PI = math.log(2 * math.pi)


def as_vector(values: Any) -> Float[Array, "..."]:
    """`values` as an array of JAX's default float type."""
    return jnp.asarray(values, jnp.result_type(float))


class GaussianTarget(SyntheticTarget):
    """log p(z) = log Z + log N(z; m, L L^T).

    `mean`: m, shape (d,). `scale_tril`: L, lower triangular with a positive diagonal, (d, d). `log_evidence`: log Z.
    """

    mean: Float[Array, " d"]
    scale_tril: Float[Array, "d d"]
    inverse_tril: Float[Array, "d d"]
    log_evidence: Scalar

    def __init__(self, mean: Float[Array, " d"], scale_tril: Float[Array, "d d"], log_evidence: Any = 0.0):
        self.mean, self.scale_tril, self.log_evidence = mean, scale_tril, as_scalar(log_evidence)
        # once and for all: a triangular solve a gradient costs a hundred times the product on a busy processor
        self.inverse_tril = solve_triangular(scale_tril, jnp.eye(mean.shape[0], dtype=mean.dtype), lower=True)

    @property
    def space(self) -> Space:
        return real_space(z=self.mean.shape)

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        eps = self.inverse_tril @ (z - self.mean)
        log_det = jnp.sum(jnp.log(jnp.diagonal(self.scale_tril)))
        return self.log_evidence - 0.5 * jnp.sum(eps**2) - 0.5 * self.mean.shape[0] * _LOG_2PI - log_det

    def exact_draws(self, key: PRNGKey, n: int) -> Float[Array, "n d"]:
        eps = jax.random.normal(key, (n, self.mean.shape[0]), self.mean.dtype)
        return self.mean + eps @ self.scale_tril.T

    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        return self.mean, self.scale_tril @ self.scale_tril.T


def gaussian_target(mean: Any, cov: Any, log_evidence: float = 0.0) -> GaussianTarget:
    """N(mean, cov) times Z. Raises `InputError` where shapes do not agree or `cov` is not positive definite."""
    mean, cov = as_vector(mean), as_vector(cov)
    require(
        mean.ndim == 1 and cov.shape == (mean.size, mean.size),
        f"mean must have shape (d,) and cov (d, d), got {mean.shape} and {cov.shape}",
    )
    tril = jnp.linalg.cholesky(cov)
    if not bool(np.all(np.isfinite(tril))):
        raise InputError("cov is not positive definite: give a symmetric matrix with positive eigenvalues")
    return GaussianTarget(mean, tril, log_evidence)


def random_gaussian(key: PRNGKey, dimension: int, condition_number: float = 1.0) -> GaussianTarget:
    """A Gaussian in a uniformly random rotation: eigenvalues of the covariance from 1 to 1 / `condition_number`.

    The eigenvalues are evenly spaced in their logarithm; the mean is a standard normal draw. Raises `InputError` for a
    dimension or a condition number below 1.
    """
    require(dimension >= 1 and condition_number >= 1, "dimension and condition_number must be at least 1")
    key_mean, key_rotation = jax.random.split(key)
    rotation = jax.random.orthogonal(key_rotation, dimension, dtype=jnp.result_type(float))
    scales = jnp.exp(-0.5 * jnp.linspace(0.0, math.log(condition_number), dimension))
    # a triangular factor by QR: a Cholesky of the product would lose half of the digits
    triangle = jnp.linalg.qr((rotation * scales).T, mode="r").T
    tril = triangle * jnp.sign(jnp.diagonal(triangle))
    return GaussianTarget(jax.random.normal(key_mean, (dimension,), tril.dtype), tril)
