"""Denoisers: E[x | x + s e], from which the score of noised rows follows."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey
from jensen.core.fields import check_count
from jensen.families._conditioner import Network, init_network

FREQUENCIES = (0.25, 0.5, 1.0, 2.0)  # of log s, as inputs of a network


class Denoiser(eqx.Module):
    """D(y, s) = E[x | x + s e = y] under a distribution p of rows x: what a diffusion model knows of p."""

    @property
    @abc.abstractmethod
    def dimension(self) -> int:
        """d, of a row."""

    @abc.abstractmethod
    def __call__(self, y: Float[Array, " d"], s: Float[Array, ""]) -> Float[Array, " d"]:
        """D(y, s)."""

    def score(self, y: Float[Array, " d"], s: Float[Array, ""]) -> Float[Array, " d"]:
        """grad log p_s(y) = (D(y, s) - y) / s^2, p_s the density of x + s e (Tweedie's formula)."""
        return (self(y, s) - y) / s**2

    def partition(self) -> tuple[Any, Any]:
        """(trainable, rest); all inexact arrays train by default."""
        return eqx.partition(self, eqx.is_inexact_array)


class GaussianDenoiser(Denoiser):
    """Exact for p = N(m, C): D(y, s) = m + C (C + s^2 I)^-1 (y - m).

    Source: Wiener (1949).
    """

    mean: Float[Array, " d"]
    cov: Float[Array, "d d"]

    @property
    def dimension(self) -> int:
        return self.mean.shape[0]

    def __call__(self, y: Float[Array, " d"], s: Float[Array, ""]) -> Float[Array, " d"]:
        noised = self.cov + s**2 * jnp.eye(self.dimension, dtype=self.cov.dtype)
        return self.mean + self.cov @ jnp.linalg.solve(noised, y - self.mean)


class NetworkDenoiser(Denoiser):
    """D(y, s) = m + c_skip (y - m) + c_out F(c_in (y - m), log s), F a perceptron, with the c of the rows' spread v.

    c_skip = v^2 / (s^2 + v^2), c_out = s v / sqrt(s^2 + v^2), c_in = 1 / sqrt(s^2 + v^2): F sees and makes numbers of
    unit size at every noise level, and F = 0 is the best linear denoiser of rows with independent values of spread v.
    `centre`, `spread`: m and v, not trained.

    Source: Karras, Aittala, Aila and Laine (2022), table 1.
    """

    centre: Float[Array, " d"]
    spread: Float[Array, ""]
    network: Network

    @property
    def dimension(self) -> int:
        return self.centre.shape[0]

    def __call__(self, y: Float[Array, " d"], s: Float[Array, ""]) -> Float[Array, " d"]:
        total = s**2 + self.spread**2
        made = perceptron(self.network, noised_features(y - self.centre, s, self.spread))
        skip = self.spread**2 / total
        return self.centre + skip * (y - self.centre) + s * self.spread * jax.lax.rsqrt(total) * made

    def partition(self) -> tuple[Any, Any]:
        """Centre and spread are not trained."""
        wanted = jax.tree.map(eqx.is_inexact_array, self)
        return eqx.partition(self, eqx.tree_at(lambda d: (d.centre, d.spread), wanted, (False, False)))


def network_denoiser(key: PRNGKey, X: Any, width: int = 128, depth: int = 2) -> NetworkDenoiser:
    """A `NetworkDenoiser` for rows like X (their mean and root mean square deviation), its network begun at zero.

    Raises `InputError` for X that is no matrix of finite rows that differ, or width or depth below 1.
    """
    centre, spread = moments_of(X)
    check_count("width", width)
    check_count("depth", depth)
    d = len(centre)
    return NetworkDenoiser(centre, spread, init_network(key, (features_of(d), *(width,) * depth, d), 1))


def moments_of(X: Any) -> tuple[Float[Array, " d"], Float[Array, ""]]:
    """(mean, root mean square deviation over all values) of rows. Raises `InputError` for rows that have none."""
    X = jnp.asarray(X, jnp.result_type(float))
    if X.ndim != 2 or 0 in X.shape:
        raise InputError(f"X must have shape (rows, values), got {X.shape}")
    centre, spread = jnp.mean(X, 0), jnp.sqrt(jnp.mean(jnp.var(X, 0)))
    if not bool(jnp.isfinite(spread)):
        raise InputError("X holds NaN or infinite values: drop or fill those rows")
    if not bool(spread > 0):
        raise InputError("The rows of X are all equal: there is no distribution to learn")
    return centre, spread


def features_of(dimension: int) -> int:
    """Number of inputs that `noised_features` makes."""
    return dimension + 1 + 2 * len(FREQUENCIES)


def noised_features(y: Float[Array, " d"], s: Float[Array, ""], spread: Float[Array, ""]) -> Float[Array, " features"]:
    """A centred noised row in units of its spread, with log s and waves of it."""
    level = jnp.log(s / spread)
    waves = level * jnp.asarray(FREQUENCIES, y.dtype)
    return jnp.concatenate([y * jax.lax.rsqrt(s**2 + spread**2), level[None], jnp.cos(waves), jnp.sin(waves)])


def perceptron(network: Network, x: Float[Array, " n"]) -> Float[Array, " out"]:
    """The one network of a stack of one."""
    return jax.tree.map(lambda a: a[0], network)(x, None)
