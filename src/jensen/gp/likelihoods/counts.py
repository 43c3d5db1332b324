"""Counts: Poisson (also as the cells of a log-Gaussian Cox process) and negative binomial, with a log link."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

from jensen.core import PRNGKey, Scalar, scalar_field
from jensen.gp.likelihoods._base import Likelihood, refuse


def _counts(y: np.ndarray, likelihood: str) -> np.ndarray:
    y = np.asarray(y, float)
    refuse(y, ~(np.isfinite(y) & (y >= 0) & (y == np.round(y))), likelihood, "whole numbers that are not negative")
    return y


class Poisson(Likelihood):
    """y | f ~ Poisson(exposure * exp(f)); E[log p] and predictions are in closed form.

    `exposure`: what each count was collected over (seconds, area). With y the number of points in cells of that size
    and f a Gaussian process this is the log-Gaussian Cox process of intensity exp(f) on a grid (Moller et al. 1998).
    """

    exposure: Scalar = scalar_field(1.0, metadata={"fixed": True})

    def check(self, y: np.ndarray) -> np.ndarray:
        return _counts(y, "Poisson")

    def log_prob(self, y: Any, f: Float[Array, " k"]) -> Float[Array, ""]:
        return y * (f[0] + jnp.log(self.exposure)) - self.exposure * jnp.exp(f[0]) - gammaln(y + 1)

    def sample(self, key: PRNGKey, f: Float[Array, " k"]) -> Array:
        return jax.random.poisson(key, self.exposure * jnp.exp(f[0])).astype(f.dtype)

    def moments(self, f: Float[Array, " k"]) -> tuple[Array, Array]:
        rate = self.exposure * jnp.exp(f[0])
        return rate, rate

    def expected(self, y: Any, mean: Float[Array, " k"], cov: Float[Array, "k k"]) -> Float[Array, ""]:
        rate = self.exposure * jnp.exp(mean[0] + 0.5 * cov[0, 0])
        return y * (mean[0] + jnp.log(self.exposure)) - rate - gammaln(y + 1)

    def predict(self, mean: Float[Array, " k"], cov: Float[Array, "k k"]) -> tuple[Array, Array]:
        rate = self.exposure * jnp.exp(mean[0] + 0.5 * cov[0, 0])
        return rate, rate + rate**2 * jnp.expm1(cov[0, 0])


class NegativeBinomial(Likelihood):
    """y | f ~ NB of mean mu = exp(f) and variance mu + mu^2 / concentration: Poisson with a Gamma-distributed rate."""

    concentration: Scalar = scalar_field(1.0)

    def check(self, y: np.ndarray) -> np.ndarray:
        return _counts(y, "NegativeBinomial")

    def log_prob(self, y: Any, f: Float[Array, " k"]) -> Float[Array, ""]:
        a = self.concentration
        log_total = jnp.logaddexp(jnp.log(a), f[0])
        choose = gammaln(y + a) - gammaln(a) - gammaln(y + 1)
        return choose + a * (jnp.log(a) - log_total) + y * (f[0] - log_total)

    def sample(self, key: PRNGKey, f: Float[Array, " k"]) -> Array:
        rate, count = jax.random.split(key)
        gamma = jax.random.gamma(rate, self.concentration, (), f.dtype) / self.concentration
        return jax.random.poisson(count, gamma * jnp.exp(f[0])).astype(f.dtype)

    def moments(self, f: Float[Array, " k"]) -> tuple[Array, Array]:
        mean = jnp.exp(f[0])
        return mean, mean + mean**2 / self.concentration

    def predict(self, mean: Float[Array, " k"], cov: Float[Array, "k k"]) -> tuple[Array, Array]:
        first = jnp.exp(mean[0] + 0.5 * cov[0, 0])
        second = jnp.exp(2 * mean[0] + 2 * cov[0, 0])  # E[mu^2]
        return first, first + second / self.concentration + second - first**2
