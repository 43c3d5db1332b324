"""The multivariate normal family, full rank and diagonal."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from jensen.core import PRNGKey
from jensen.families.bijective import Bijective, log_standard_normal

_LOG_2PI = math.log(2 * math.pi)


class Gaussian(Bijective):
    """N(m, S) with S = L L^T, L lower triangular with positive diagonal: d + d(d+1)/2 parameters, O(d^2) a draw.

    `mean`: shape (d,). `scale_tril`: L, shape (d, d); entries above the diagonal are ignored.
    """

    mean: Float[Array, " d"]
    scale_tril: Float[Array, "d d"]

    @property
    def dimension(self) -> int:
        return self.mean.shape[0]

    @property
    def cov(self) -> Float[Array, "d d"]:
        """S."""
        tril = jnp.tril(self.scale_tril)
        return tril @ tril.T

    def noise(self, key: PRNGKey) -> Float[Array, " d"]:
        return jax.random.normal(key, self.mean.shape, self.mean.dtype)

    def noise_many(self, key: PRNGKey, n: int) -> Float[Array, "n d"]:
        return jax.random.normal(key, (n, *self.mean.shape), self.mean.dtype)

    def transform(self, u: Float[Array, " d"]) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        return self.mean + jnp.tril(self.scale_tril) @ u, _log_det(self.scale_tril)

    def inverse(self, z: Float[Array, " d"]) -> Float[Array, " d"]:
        return solve_triangular(self.scale_tril, z - self.mean, lower=True)

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return log_standard_normal(self.inverse(z)) - _log_det(self.scale_tril)

    def entropy(self) -> Float[Array, ""]:
        """H(q) = d/2 (1 + log 2 pi) + log det L, in nats."""
        return 0.5 * self.dimension * (1 + _LOG_2PI) + _log_det(self.scale_tril)

    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        """m and S."""
        return self.mean, self.cov

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Gaussian":
        d = int(config["dimension"])
        return cls(jnp.zeros(d), jnp.eye(d))


class DiagonalGaussian(Bijective):
    """q = N(m, diag(s^2)), the mean-field family: 2 d parameters. `log_scale` is log s: any value is valid."""

    mean: Float[Array, " d"]
    log_scale: Float[Array, " d"]

    @property
    def dimension(self) -> int:
        return self.mean.shape[0]

    def noise(self, key: PRNGKey) -> Float[Array, " d"]:
        return jax.random.normal(key, self.mean.shape, self.mean.dtype)

    def noise_many(self, key: PRNGKey, n: int) -> Float[Array, "n d"]:
        return jax.random.normal(key, (n, *self.mean.shape), self.mean.dtype)

    def transform(self, u: Float[Array, " d"]) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        return self.mean + jnp.exp(self.log_scale) * u, jnp.sum(self.log_scale)

    def inverse(self, z: Float[Array, " d"]) -> Float[Array, " d"]:
        return (z - self.mean) * jnp.exp(-self.log_scale)

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return log_standard_normal(self.inverse(z)) - jnp.sum(self.log_scale)

    def entropy(self) -> Float[Array, ""]:
        """H(q) = d/2 (1 + log 2 pi) + sum log s, in nats."""
        return 0.5 * self.dimension * (1 + _LOG_2PI) + jnp.sum(self.log_scale)

    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        """m and diag(s^2)."""
        return self.mean, jnp.diag(jnp.exp(2 * self.log_scale))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "DiagonalGaussian":
        d = int(config["dimension"])
        return cls(jnp.zeros(d), jnp.zeros(d))


def _log_det(scale_tril: Float[Array, "d d"]) -> Float[Array, ""]:
    return jnp.sum(jnp.log(jnp.abs(jnp.diagonal(scale_tril))))


def gaussian_from_cov(mean: Float[Array, " d"], cov: Float[Array, "d d"]) -> Gaussian:
    """The Gaussian with this mean and covariance; NaN where `cov` is not positive definite."""
    return Gaussian(mean, jnp.linalg.cholesky(0.5 * (cov + cov.T)))


def kl_gaussian(q: Gaussian, p: Gaussian) -> Float[Array, ""]:
    """KL(q || p) = 1/2 [tr(P^-1 S) - d + (m_p - m_q)^T P^-1 (m_p - m_q)] + log det L_p - log det L_q, in nats."""
    tril_q, tril_p = jnp.tril(q.scale_tril), jnp.tril(p.scale_tril)
    spread = solve_triangular(tril_p, tril_q, lower=True)
    shift = solve_triangular(tril_p, p.mean - q.mean, lower=True)
    log_dets = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(tril_p)))) - jnp.sum(jnp.log(jnp.abs(jnp.diagonal(tril_q))))
    return 0.5 * (jnp.sum(spread**2) - q.dimension + jnp.sum(shift**2)) + log_dets
