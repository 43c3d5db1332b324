"""Labels: two classes (logit, probit), ordered classes, many classes."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr, ndtr
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey, Scalar
from jensen.gp.likelihoods._base import Likelihood, refuse


def _labels(y: np.ndarray, num_classes: int, likelihood: str) -> np.ndarray:
    y = np.asarray(y, float)
    refuse(y, ~np.isin(y, np.arange(num_classes)), likelihood, f"labels 0 to {num_classes - 1}")
    return y


class BernoulliLogit(Likelihood):
    """P(y = 1 | f) = 1 / (1 + exp(-f)), y in {0, 1}."""

    def check(self, y: np.ndarray) -> np.ndarray:
        return _labels(y, 2, "BernoulliLogit")

    def log_prob(self, y: Any, f: Float[Array, " k"]) -> Float[Array, ""]:
        return jax.nn.log_sigmoid((2 * y - 1) * f[0])

    def sample(self, key: PRNGKey, f: Float[Array, " k"]) -> Array:
        return jax.random.bernoulli(key, jax.nn.sigmoid(f[0])).astype(f.dtype)

    def moments(self, f: Float[Array, " k"]) -> tuple[Array, Array]:
        p = jax.nn.sigmoid(f[0])
        return p, p * (1 - p)


class BernoulliProbit(Likelihood):
    """P(y = 1 | f) = Phi(f), y in {0, 1}; E[Phi(f)] is in closed form, and with it EP's moments and predictions."""

    def check(self, y: np.ndarray) -> np.ndarray:
        return _labels(y, 2, "BernoulliProbit")

    def log_prob(self, y: Any, f: Float[Array, " k"]) -> Float[Array, ""]:
        return log_ndtr((2 * y - 1) * f[0])

    def sample(self, key: PRNGKey, f: Float[Array, " k"]) -> Array:
        return jax.random.bernoulli(key, ndtr(f[0])).astype(f.dtype)

    def moments(self, f: Float[Array, " k"]) -> tuple[Array, Array]:
        p = ndtr(f[0])
        return p, p * (1 - p)

    def log_tilted(self, y: Any, mean: Float[Array, " k"], cov: Float[Array, "k k"], power: Scalar) -> Float[Array, ""]:
        """log Phi((2 y - 1) m / sqrt(1 + v)) for power 1; quadrature for others."""
        exact = log_ndtr((2 * y - 1) * mean[0] / jnp.sqrt(1 + cov[0, 0]))
        return jnp.where(power == 1, exact, super().log_tilted(y, mean, cov, power))

    def predict(self, mean: Float[Array, " k"], cov: Float[Array, "k k"]) -> tuple[Array, Array]:
        p = ndtr(mean[0] / jnp.sqrt(1 + cov[0, 0]))
        return p, p * (1 - p)


class Ordinal(Likelihood):
    """Cumulative probit: P(y = c | f) = Phi((b_c - f) / scale) - Phi((b_{c-1} - f) / scale), y in 0 .. C - 1.

    `gaps`: the C - 2 positive differences of the inner cut points b_0 < ... < b_{C-2}; the first one is at
    -sum(gaps) / 2, so that the cuts are centred (their level is the prior mean's matter). `scale` is 1: the kernel's
    variance says the rest.
    E[P(y | f)] is in closed form.
    """

    gaps: Float[Array, " inner"] = eqx.field(converter=lambda g: jnp.atleast_1d(jnp.asarray(g, jnp.result_type(float))))

    @property
    def num_classes(self) -> int:
        """C."""
        return self.gaps.shape[0] + 2

    @property
    def cuts(self) -> Float[Array, " cuts"]:
        """The C - 1 cut points."""
        return jnp.concatenate([jnp.zeros(1), jnp.cumsum(self.gaps)]) - 0.5 * jnp.sum(self.gaps)

    def check(self, y: np.ndarray) -> np.ndarray:
        return _labels(y, self.num_classes, "Ordinal")

    def log_prob(self, y: Any, f: Float[Array, " k"]) -> Float[Array, ""]:
        return self._log_between(y, f[0], 1.0)

    def _log_between(self, y: Any, f: Array, scale: Any) -> Array:
        far = jnp.asarray([1e3])
        edges = jnp.concatenate([-far, self.cuts, far])
        c = jnp.asarray(y, int)
        upper, lower = (edges[c + 1] - f) / scale, (edges[c] - f) / scale
        # on the side where both tails are small: Phi(b) - Phi(a) = Phi(-a) - Phi(-b)
        flip = lower > 0
        a, b = jnp.where(flip, -upper, lower), jnp.where(flip, -lower, upper)
        high, low = log_ndtr(b), log_ndtr(a)
        return high + jnp.log1p(-jnp.exp(jnp.minimum(low - high, -jnp.finfo(f.dtype).eps)))

    def sample(self, key: PRNGKey, f: Float[Array, " k"]) -> Array:
        return jnp.sum(f[0] + jax.random.normal(key, (), f.dtype) > self.cuts).astype(f.dtype)

    def moments(self, f: Float[Array, " k"]) -> tuple[Array, Array]:
        """Of the label as a number."""
        labels = jnp.arange(self.num_classes, dtype=f.dtype)
        p = jnp.exp(jax.vmap(lambda c: self.log_prob(c, f))(labels))
        mean = p @ labels
        return mean, p @ (labels - mean) ** 2

    def log_tilted(self, y: Any, mean: Float[Array, " k"], cov: Float[Array, "k k"], power: Scalar) -> Float[Array, ""]:
        exact = self._log_between(y, mean[0], jnp.sqrt(1 + cov[0, 0]))
        return jnp.where(power == 1, exact, super().log_tilted(y, mean, cov, power))


class Softmax(Likelihood):
    """P(y = c | f) = exp(f_c) / sum_j exp(f_j), y in 0 .. C - 1, a latent function for each class.

    `predict` gives the probabilities of all classes. Expectations are by quasi-Monte Carlo for C > 2 (`normal_nodes`).
    """

    num_classes: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        if self.num_classes < 2:
            raise InputError(f"A softmax needs two classes or more, got {self.num_classes}")

    @property
    def num_values(self) -> int:
        return self.num_classes

    def check(self, y: np.ndarray) -> np.ndarray:
        return _labels(y, self.num_classes, "Softmax")

    def log_prob(self, y: Any, f: Float[Array, " k"]) -> Float[Array, ""]:
        return jax.nn.log_softmax(f)[jnp.asarray(y, int)]

    def sample(self, key: PRNGKey, f: Float[Array, " k"]) -> Array:
        return jax.random.categorical(key, f).astype(f.dtype)

    def moments(self, f: Float[Array, " k"]) -> tuple[Array, Array]:
        """Of the one-hot vector of y."""
        p = jax.nn.softmax(f)
        return p, p * (1 - p)
