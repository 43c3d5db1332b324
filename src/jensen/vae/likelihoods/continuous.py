"""Likelihoods of real values."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey
from jensen.vae.likelihoods._base import Likelihood, check_range

_LOG_2PI = math.log(2 * math.pi)
FLOOR = -5.0  # of a log scale that a network chooses for each value: a density may not run away to a point
SMALL = 0.05  # of the half logit, below which a series is used


class Gaussian(Likelihood):
    """p(x | raw) = N(x; raw, sigma^2 I): one noise scale for all values, `log_scale` (), or one a column, (n,).

    `trained` False keeps the scale as it is. Without a lower limit: where the decoder can reproduce columns exactly
    the likelihood is unbounded.
    """

    log_scale: Float[Array, "*n"]
    trained: bool = eqx.field(static=True, default=True)

    def log_prob(self, x: Float[Array, " n"], raw: Float[Array, "n 1"]) -> Float[Array, ""]:
        return jnp.sum(_log_normal(x, raw[:, 0], self.log_scale))

    def mean(self, raw: Float[Array, "n 1"]) -> Float[Array, " n"]:
        return raw[:, 0]

    def sample(self, key: PRNGKey, raw: Float[Array, "n 1"]) -> Float[Array, " n"]:
        return raw[:, 0] + jnp.exp(self.log_scale) * jax.random.normal(key, raw[:, 0].shape, raw.dtype)

    def initial(self, X: np.ndarray) -> np.ndarray:
        return np.mean(X, 0)[:, None]

    def partition(self) -> tuple["Gaussian", "Gaussian"]:
        return eqx.partition(self, lambda leaf: eqx.is_inexact_array(leaf) and self.trained)


def gaussian(scale: float = 1.0, trained: bool = True) -> Gaussian:
    """`Gaussian` with one scale for all values. Raises `InputError` unless it is positive."""
    if not scale > 0:
        raise InputError(f"The noise scale must be positive, got {scale}")
    return Gaussian(jnp.asarray(math.log(scale), jnp.result_type(float)), trained)


class HeteroscedasticGaussian(Likelihood):
    """p(x | m, r) = prod_i N(x_i; m_i, s(r_i)^2), log s(r) = -5 + log(1 + e^(r + 5)): each value has its scale."""

    @property
    def outputs(self) -> int:
        return 2

    def log_prob(self, x: Float[Array, " n"], raw: Float[Array, "n 2"]) -> Float[Array, ""]:
        return jnp.sum(_log_normal(x, raw[:, 0], _floored(raw[:, 1])))

    def mean(self, raw: Float[Array, "n 2"]) -> Float[Array, " n"]:
        return raw[:, 0]

    def sample(self, key: PRNGKey, raw: Float[Array, "n 2"]) -> Float[Array, " n"]:
        return raw[:, 0] + jnp.exp(_floored(raw[:, 1])) * jax.random.normal(key, raw[:, 0].shape, raw.dtype)

    def initial(self, X: np.ndarray) -> np.ndarray:
        return np.stack([np.mean(X, 0), np.log(np.maximum(np.std(X, 0), math.exp(FLOOR)))], 1)


def _floored(raw: Float[Array, " n"]) -> Float[Array, " n"]:
    return FLOOR + jax.nn.softplus(raw - FLOOR)


def _log_normal(x: Float[Array, " n"], mean: Float[Array, " n"], log_scale: Float[Array, "*n"]) -> Float[Array, " n"]:
    return -0.5 * ((x - mean) * jnp.exp(-log_scale)) ** 2 - log_scale - 0.5 * _LOG_2PI


class ContinuousBernoulli(Likelihood):
    """p(x | l) = prod_i l_i e^(l_i x_i) / (e^l_i - 1) on [0, 1]^n, for grey values.

    With l the logit, log p(x) = l x - A(l), A(l) = l/2 + log(sinh(l/2) / (l/2)); E[x] = A'(l).

    Source: Loaiza-Ganem and Cunningham (2019), The continuous Bernoulli.
    """

    def log_prob(self, x: Float[Array, " n"], raw: Float[Array, "n 1"]) -> Float[Array, ""]:
        logits = raw[:, 0]
        return jnp.sum((x - 0.5) * logits - log_sinh_ratio(0.5 * logits))

    def mean(self, raw: Float[Array, "n 1"]) -> Float[Array, " n"]:
        return 0.5 + 0.5 * _langevin(0.5 * raw[:, 0])

    def sample(self, key: PRNGKey, raw: Float[Array, "n 1"]) -> Float[Array, " n"]:
        logits = raw[:, 0]
        steep = jnp.maximum(jnp.abs(logits), 2 * SMALL)
        u = jax.random.uniform(key, logits.shape, logits.dtype)
        far = 1 + jnp.log(u + (1 - u) * jnp.exp(-steep)) / steep  # the quantile at logit |l|
        far = jnp.where(logits > 0, far, 1 - far)
        near = u + 0.5 * logits * u * (1 - u)
        return jnp.clip(jnp.where(jnp.abs(logits) < 2 * SMALL, near, far), 0.0, 1.0)

    def initial(self, X: np.ndarray) -> np.ndarray:
        means = np.clip(np.mean(X, 0), 0.01, 0.99)
        low, high = np.full(means.shape, -200.0), np.full(means.shape, 200.0)
        for _ in range(60):  # bisection: the mean rises with the logit
            middle = 0.5 * (low + high)
            above = np.asarray(self.mean(jnp.asarray(middle)[:, None])) > means
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        return middle[:, None]

    def check(self, X: np.ndarray) -> None:
        mend = "divide by the largest value (pixels by 255), or take the gaussian likelihood"
        check_range(X, "continuous_bernoulli", lambda x: (x >= 0) & (x <= 1), "values in [0, 1]", mend)


def log_sinh_ratio(h: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """log(sinh(h) / h), even in h."""
    a = jnp.abs(h)
    safe = jnp.maximum(a, SMALL)
    near = h**2 / 6 - h**4 / 180 + h**6 / 2835
    return jnp.where(a < SMALL, near, safe + jnp.log1p(-jnp.exp(-2 * safe)) - jnp.log(2 * safe))


def _langevin(h: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """coth(h) - 1 / h."""
    safe = jnp.where(jnp.abs(h) < SMALL, 1.0, h)
    near = h / 3 - h**3 / 45 + 2 * h**5 / 945
    return jnp.where(jnp.abs(h) < SMALL, near, 1 / jnp.tanh(safe) - 1 / safe)
