"""Normal distributions of unknown scale: the multivariate Student-t, and mixtures over any finite set of scales."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import gammaln
from jaxtyping import Array, Float, Key

from jensen.core import Density, PRNGKey, Reparameterised

_LOG_2PI = math.log(2 * math.pi)


class MultivariateStudentT(Reparameterised):
    """z = m + L n sqrt(nu / (2 g)), n ~ N(0, I_d), g ~ Gamma(nu / 2, 1) common to all coordinates.

    log q(z) = log Gamma((nu + d) / 2) - log Gamma(nu / 2) - d/2 log(nu pi) - log det L
    - (nu + d) / 2 log(1 + |L^-1 (z - m)|^2 / nu). A scale mixture of N(m, s L L^T) over s ~ InverseGamma(nu/2, nu/2):
    coordinates are dependent even where L is diagonal, unlike in `StudentT`. The covariance is nu / (nu - 2) L L^T, and
    infinite for nu <= 2. O(d^2) a draw.

    `mean`: m, (d,). `scale_tril`: L, (d, d), lower triangular with positive diagonal. `log_df`: log nu.
    """

    mean: Float[Array, " d"]
    scale_tril: Float[Array, "d d"]
    log_df: Float[Array, ""]

    @property
    def dimension(self) -> int:
        return self.mean.shape[0]

    def noise(self, key: PRNGKey) -> tuple[Float[Array, " d"], Key[Array, ""]]:
        """Standard normal numbers, and the key of the Gamma draw, whose noise has no fixed length."""
        key_normal, key_gamma = jax.random.split(key)
        return jax.random.normal(key_normal, self.mean.shape, self.mean.dtype), key_gamma

    def from_noise(self, eps: tuple[Float[Array, " d"], Key[Array, ""]]) -> Float[Array, " d"]:
        normal, key = eps
        half = 0.5 * jnp.exp(self.log_df)
        spread = jnp.exp(0.5 * (jnp.log(half) - jax.random.loggamma(key, half)))
        return self.mean + spread * (jnp.tril(self.scale_tril) @ normal)

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        square, log_det = _standardised(self.mean, self.scale_tril, z)
        df, d = jnp.exp(self.log_df), self.dimension
        norm = gammaln(0.5 * (df + d)) - gammaln(0.5 * df) - 0.5 * d * (self.log_df + math.log(math.pi))
        return norm - log_det - 0.5 * (df + d) * jnp.log1p(square / df)

    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        """m and nu / (nu - 2) L L^T: infinite on the diagonal (NaN off it may follow) for nu <= 2."""
        df = jnp.exp(self.log_df)
        tril = jnp.tril(self.scale_tril)
        return self.mean, jnp.where(df > 2, df / jnp.where(df > 2, df - 2, 1.0), jnp.inf) * (tril @ tril.T)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MultivariateStudentT":
        d = int(config["dimension"])
        return cls(jnp.zeros(d), jnp.eye(d), jnp.zeros(()))


class NormalScaleMixture(Density):
    """q(z) = sum_j w_j N(z; m, s_j L L^T): one mean and shape, k scales; any law of the scale, seen through its draws.

    O(d^2 + k) an evaluation: one triangular solve serves all scales. `mean`: m, (d,). `scale_tril`: L, (d, d).
    `log_scales`: log s_j, (k,). `log_weights`: log w_j, normalised here, (k,).
    """

    mean: Float[Array, " d"]
    scale_tril: Float[Array, "d d"]
    log_scales: Float[Array, " k"]
    log_weights: Float[Array, " k"]

    @property
    def dimension(self) -> int:
        return self.mean.shape[0]

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        square, log_det = _standardised(self.mean, self.scale_tril, z)
        terms = jax.nn.log_softmax(self.log_weights) - 0.5 * (
            square * jnp.exp(-self.log_scales) + self.dimension * (self.log_scales + _LOG_2PI)
        )
        return jax.nn.logsumexp(terms) - log_det

    def sample(self, key: PRNGKey) -> Float[Array, " d"]:
        of_scale, of_normal = jax.random.split(key)
        log_scale = self.log_scales[jax.random.categorical(of_scale, self.log_weights)]
        normal = jax.random.normal(of_normal, self.mean.shape, self.mean.dtype)
        return self.mean + jnp.exp(0.5 * log_scale) * (jnp.tril(self.scale_tril) @ normal)

    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        """m and sum_j w_j s_j L L^T."""
        tril = jnp.tril(self.scale_tril)
        return self.mean, jax.nn.softmax(self.log_weights) @ jnp.exp(self.log_scales) * (tril @ tril.T)

    def config(self) -> dict[str, Any]:
        return {"dimension": self.dimension, "components": self.log_scales.shape[0]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "NormalScaleMixture":
        d, k = int(config["dimension"]), int(config["components"])
        return cls(jnp.zeros(d), jnp.eye(d), jnp.zeros(k), jnp.zeros(k))


def _standardised(
    mean: Float[Array, " d"], tril: Float[Array, "d d"], z: Float[Array, " d"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(|L^-1 (z - m)|^2, log det L)."""
    white = solve_triangular(tril, z - mean, lower=True)
    return jnp.sum(white**2), jnp.sum(jnp.log(jnp.diagonal(tril)))
