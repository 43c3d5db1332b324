"""Likelihoods of whole numbers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey
from jensen.vae.likelihoods._base import Likelihood, check_range, logit

MARGIN = 0.01  # of probabilities, where training starts
MIN_LOG_SCALE = -7.0  # of a discretised logistic on [-1, 1]


class Bernoulli(Likelihood):
    """p(x | l) = prod_i sigma(l_i)^x_i (1 - sigma(l_i))^(1 - x_i), x binary: log p = sum x l - softplus(l)."""

    def log_prob(self, x: Float[Array, " n"], raw: Float[Array, "n 1"]) -> Float[Array, ""]:
        return jnp.sum(x * raw[:, 0] - jax.nn.softplus(raw[:, 0]))

    def mean(self, raw: Float[Array, "n 1"]) -> Float[Array, " n"]:
        return jax.nn.sigmoid(raw[:, 0])

    def sample(self, key: PRNGKey, raw: Float[Array, "n 1"]) -> Float[Array, " n"]:
        return jax.random.bernoulli(key, self.mean(raw)).astype(raw.dtype)

    def initial(self, X: np.ndarray) -> np.ndarray:
        return logit(np.mean(X, 0), MARGIN)[:, None]

    def check(self, X: np.ndarray) -> None:
        mend = (
            "threshold the values, draw them (dynamic_binarisation=True), or take the continuous_bernoulli likelihood"
        )
        check_range(X, "bernoulli", lambda x: (x == 0) | (x == 1), "values 0 and 1", mend)


class Categorical(Likelihood):
    """p(x | l) = prod_i softmax(l_i)[x_i], x_i in 0 .. C - 1, C = `classes`. `mean` is the most probable class."""

    classes: int = eqx.field(static=True)

    def __check_init__(self):
        if self.classes < 2:
            raise InputError(f"A categorical likelihood needs at least 2 classes, got {self.classes}")

    @property
    def outputs(self) -> int:
        return self.classes

    def log_prob(self, x: Float[Array, " n"], raw: Float[Array, "n p"]) -> Float[Array, ""]:
        logits = jax.nn.log_softmax(raw, axis=1)
        return jnp.sum(jnp.take_along_axis(logits, x.astype(jnp.int32)[:, None], axis=1))

    def mean(self, raw: Float[Array, "n p"]) -> Float[Array, " n"]:
        return jnp.argmax(raw, axis=1).astype(raw.dtype)

    def sample(self, key: PRNGKey, raw: Float[Array, "n p"]) -> Float[Array, " n"]:
        return jax.random.categorical(key, raw, axis=1).astype(raw.dtype)

    def initial(self, X: np.ndarray) -> np.ndarray:
        shares = np.stack([np.mean(c == X, 0) for c in range(self.classes)], 1)
        return np.log(shares + MARGIN)

    def check(self, X: np.ndarray) -> None:
        def inside(x: np.ndarray) -> np.ndarray:
            return (x >= 0) & (x < self.classes) & (x == np.round(x))

        wanted, mend = f"whole numbers 0 .. {self.classes - 1}", "count classes from 0, or raise the number of classes"
        check_range(X, "categorical", inside, wanted, mend)


class Poisson(Likelihood):
    """p(x | l) = prod_i Poisson(x_i; exp(l_i)): counts."""

    def log_prob(self, x: Float[Array, " n"], raw: Float[Array, "n 1"]) -> Float[Array, ""]:
        return jnp.sum(x * raw[:, 0] - jnp.exp(raw[:, 0]) - gammaln(x + 1))

    def mean(self, raw: Float[Array, "n 1"]) -> Float[Array, " n"]:
        return jnp.exp(raw[:, 0])

    def sample(self, key: PRNGKey, raw: Float[Array, "n 1"]) -> Float[Array, " n"]:
        return jax.random.poisson(key, self.mean(raw)).astype(raw.dtype)

    def initial(self, X: np.ndarray) -> np.ndarray:
        return np.log(np.mean(X, 0) + MARGIN)[:, None]

    def check(self, X: np.ndarray) -> None:
        mend = "take the gaussian likelihood for what are no counts"
        check_range(X, "poisson", lambda x: (x >= 0) & (x == np.round(x)), "counts 0, 1, 2, ...", mend)


class Multinomial(Likelihood):
    """p(x | l) = N! / prod_i x_i! prod_i softmax(l)_i^x_i, N = sum_i x_i: how a row's total falls on its columns.

    The total itself is not modelled: `mean` and `sample` are of rows with `total` counts.

    Source: for clicks of users: Liang, Krishnan, Hoffman and Jebara (2018).
    """

    total: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        if self.total < 1:
            raise InputError(f"The total of a multinomial row must be at least 1, got {self.total}")

    def log_prob(self, x: Float[Array, " n"], raw: Float[Array, "n 1"]) -> Float[Array, ""]:
        orders = gammaln(jnp.sum(x) + 1) - jnp.sum(gammaln(x + 1))
        return orders + jnp.sum(x * jax.nn.log_softmax(raw[:, 0]))

    def mean(self, raw: Float[Array, "n 1"]) -> Float[Array, " n"]:
        return self.total * jax.nn.softmax(raw[:, 0])

    def sample(self, key: PRNGKey, raw: Float[Array, "n 1"]) -> Float[Array, " n"]:
        chosen = jax.random.categorical(key, raw[:, 0], shape=(self.total,))
        return jnp.bincount(chosen, length=raw.shape[0]).astype(raw.dtype)

    def initial(self, X: np.ndarray) -> np.ndarray:
        return np.log(np.mean(X, 0) + MARGIN / X.shape[1])[:, None]

    def check(self, X: np.ndarray) -> None:
        mend = "take counts, or the gaussian likelihood"
        check_range(X, "multinomial", lambda x: (x >= 0) & (x == np.round(x)), "counts 0, 1, 2, ...", mend)
        empty = np.flatnonzero(np.sum(X, 1) == 0)
        if len(empty):
            raise InputError(f"Row {empty[0]} and {len(empty) - 1} others of X hold no counts: drop them")


class DiscretisedLogistic(Likelihood):
    """p(x | m, r) = prod_i sigma((u_i + h - m_i) / s_i) - sigma((u_i - h - m_i) / s_i), x in 0 .. L - 1, L = `levels`.

    u = 2 x / (L - 1) - 1 lies in [-1, 1], h = 1 / (L - 1) is half a level, s = exp(r) with r floored at -7; the first
    and the last level take the tails. For pixels of 8 bits L = 256.

    Source: Kingma, Salimans, Jozefowicz et al. (2016), Inverse autoregressive flow.
    """

    levels: int = eqx.field(static=True, default=256)

    def __check_init__(self):
        if self.levels < 2:
            raise InputError(f"A discretised logistic needs at least 2 levels, got {self.levels}")

    @property
    def outputs(self) -> int:
        return 2

    def _scale(self, raw: Float[Array, " n"]) -> Float[Array, " n"]:
        return jnp.exp(MIN_LOG_SCALE + jax.nn.softplus(raw - MIN_LOG_SCALE))

    def log_prob(self, x: Float[Array, " n"], raw: Float[Array, "n 2"]) -> Float[Array, ""]:
        scale, half = self._scale(raw[:, 1]), 1 / (self.levels - 1)
        centred = 2 * x * half - 1 - raw[:, 0]
        above, below = (centred + half) / scale, (centred - half) / scale
        # sigma(b) - sigma(a) = sigma(b) sigma(-a) (1 - exp(a - b)), each factor without cancellation
        left = jnp.where(x < self.levels - 1, jax.nn.log_sigmoid(above), 0.0)
        right = jnp.where(x > 0, jax.nn.log_sigmoid(-below), 0.0)
        inner = (x > 0) & (x < self.levels - 1)
        return jnp.sum(left + right + jnp.where(inner, jnp.log(-jnp.expm1(-2 * half / scale)), 0.0))

    def _level(self, u: Float[Array, " n"]) -> Float[Array, " n"]:
        return jnp.clip(0.5 * (u + 1) * (self.levels - 1), 0, self.levels - 1)

    def mean(self, raw: Float[Array, "n 2"]) -> Float[Array, " n"]:
        """The level of the logistic's centre (its mean but for the tails)."""
        return self._level(raw[:, 0])

    def sample(self, key: PRNGKey, raw: Float[Array, "n 2"]) -> Float[Array, " n"]:
        noise = jax.random.logistic(key, raw[:, 0].shape, raw.dtype)
        return jnp.round(self._level(raw[:, 0] + self._scale(raw[:, 1]) * noise))

    def initial(self, X: np.ndarray) -> np.ndarray:
        u = 2 * X / (self.levels - 1) - 1
        spread = np.std(u, 0) * np.sqrt(3) / np.pi
        return np.stack([np.mean(u, 0), np.log(np.maximum(spread, 1 / self.levels))], 1)

    def check(self, X: np.ndarray) -> None:
        def inside(x: np.ndarray) -> np.ndarray:
            return (x >= 0) & (x < self.levels) & (x == np.round(x))

        wanted = f"whole numbers 0 .. {self.levels - 1}"
        check_range(X, "discretised_logistic", inside, wanted, "give pixels as 8-bit numbers, or set the levels")
