"""A linear regression of the unknowns on the data, and a head for what it leaves."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.amortised.conditional import Conditional
from jensen.amortised.encoders import Vector, flat, flat_sets
from jensen.amortised.heads import Mixture
from jensen.amortised.network import encoded
from jensen.core import Compiled, Density, PRNGKey
from jensen.core.compiled import PASSES
from jensen.families import Gaussian, Pushforward

VECTOR, MIXTURE = Vector(), Mixture()
REACH = 8.0  # standard deviations at which a feature is cut off: what lies beyond is no matter of a straight line
PENALTIES = 25  # tried, from 1e-6 to 1e6 of the sum of squares of a feature
FLOOR = 1e-8  # of the variance of an unknown, kept where data determine it


class Regressed(Conditional):
    """q(z | data) = the image of `rest`(u | data) under z = m + L (W x + u), x the data, standardised and cut off at 8.

    With `rest` standard normal this is the best linear Gaussian posterior, which is exact where z and data are jointly
    Gaussian; `rest` has to learn only what departs from it. W and `rest` are trained.

    `mean`: m, shape (d,). `tril`: L, shape (d, d). `weights`: W, shape (d, n). `centre`, `spread`: of the data, (n,).
    """

    mean: Float[Array, " d"]
    tril: Float[Array, "d d"]
    weights: Float[Array, "d n"]
    centre: Float[Array, " n"]
    spread: Float[Array, " n"]
    rest: Conditional

    @property
    def dimension(self) -> int:
        return self.mean.shape[0]

    def given(self, data: Any) -> Density:
        mean, tril, centre, spread = jax.lax.stop_gradient((self.mean, self.tril, self.centre, self.spread))
        x = _cut((flat(data, centre.dtype) - centre) / spread)
        return Pushforward(self.rest.given(data), Gaussian(mean + tril @ (self.weights @ x), tril))


@dataclasses.dataclass(frozen=True)
class Regression:
    """Builds a `Regressed`: ridge regression of z on the data in closed form, and a head for its residuals.

    For data of a fixed shape, above all where simulations are few and posteriors near Gaussian: a network alone has to
    learn every linear map from examples. `encoder` and `head` build what the residuals are left to. Not where the data
    are sets of changing size: their entries have no fixed meaning.

    The penalty is the one of least generalised cross-validation. Source: Golub, Heath and Wahba (1979).
    """

    encoder: Any = VECTOR
    head: Any = MIXTURE

    def build(self, key: PRNGKey, z: Float[Array, "sets d"], data: Any) -> Regressed:
        """`z`, `data`: simulated pairs, leading axis pairs."""
        key_encoder, key_head = jax.random.split(key)
        (mean, tril, weights, centre, spread), residuals = _fit(z, flat_sets(data))
        rest = encoded(key_encoder, key_head, self.encoder, self.head, residuals, data)
        return Regressed(mean, tril, weights, centre, spread, rest)


def _cut(x: Array) -> Array:
    return jnp.clip(x, -REACH, REACH)


@partial(Compiled, small=PASSES)
def _fit(z: Float[Array, "sets d"], data: Float[Array, "sets n"]) -> Any:
    """((m, L, W, centre, spread), residuals in units of L)."""
    n = z.shape[0]
    centre, spread = jnp.mean(data, 0), jnp.std(data, 0)
    spread = jnp.where(spread > 0, spread, 1.0)
    x = _cut((data - centre) / spread)
    mean, variance = jnp.mean(z, 0), jnp.var(z, 0)
    scale = jnp.sqrt(jnp.where(variance > 0, variance, 1.0))
    y = (z - mean) / scale
    u, s, vt = jnp.linalg.svd(x, full_matrices=False)
    onto = u.T @ y

    def left(penalty: Array) -> tuple[Array, Array]:
        """(residuals, effective number of weights)."""
        shrink = s**2 / (s**2 + penalty)
        return y - u @ (shrink[:, None] * onto), jnp.sum(shrink)

    def score(penalty: Array) -> Array:
        residuals, count = left(penalty)
        value = jnp.sum(residuals**2) / (n - 1 - count) ** 2
        return jnp.where(2 * count < n, value, jnp.inf)  # near interpolation the criterion is 0/0

    penalties = n * jnp.logspace(-6.0, 6.0, PENALTIES, dtype=z.dtype)
    penalty = penalties[jnp.argmin(jax.lax.map(score, penalties))]
    residuals, count = left(penalty)
    cov = residuals.T @ residuals / (n - 1 - count)
    tril = jnp.linalg.cholesky(cov + FLOOR * jnp.eye(z.shape[1], dtype=z.dtype))
    weights = vt.T @ ((s / (s**2 + penalty))[:, None] * onto)

    def whitened(rows: Array) -> Array:
        return jax.scipy.linalg.solve_triangular(tril, rows, lower=True)

    return (mean, scale[:, None] * tril, whitened(weights.T), centre, spread), whitened(residuals.T).T
