"""Likelihood terms p(y_i | f_i) of few latent values, and the expectations of them that update rules ask for."""

import abc
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey, Scalar


@functools.cache
def normal_nodes(k: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (q, k) and log weights (q,) for expectations under N(0, I_k).

    Gauss-Hermite with 32 nodes for k = 1 and 24 x 24 for k = 2; above that 512 points of a randomised Sobol sequence
    (a fixed one), reflected about the origin so that odd moments vanish.
    """
    if k <= 2:
        x, w = np.polynomial.hermite_e.hermegauss(32 if k == 1 else 24)
        grid = np.stack(np.meshgrid(*[x] * k, indexing="ij"), -1).reshape(-1, k)
        weights = np.stack(np.meshgrid(*[w / w.sum()] * k, indexing="ij"), -1).reshape(-1, k)
        return grid, np.log(weights).sum(-1)
    from scipy.stats import norm, qmc

    half = norm.ppf(qmc.Sobol(k, rng=0).random(256))
    return np.concatenate([half, -half]), np.full(512, -np.log(512.0))


def root(cov: Float[Array, "k k"]) -> Float[Array, "k k"]:
    """A square root of a covariance of one site: of a semidefinite one too, up to rounding."""
    floor = jnp.finfo(cov.dtype).eps * jnp.trace(cov) + jnp.finfo(cov.dtype).tiny ** 0.5
    if cov.shape == (1, 1):
        return jnp.sqrt(jnp.maximum(cov, floor))
    return jnp.linalg.cholesky(cov + floor * jnp.eye(cov.shape[0], dtype=cov.dtype))


class Likelihood(eqx.Module):
    """p(y | f) of one term: y a scalar, f its k latent values. Parameters are array leaves.

    `expected` and `log_tilted` are by quadrature (`normal_nodes`) where a class has no closed form.
    """

    @property
    def num_values(self) -> int:
        """k."""
        return 1

    @abc.abstractmethod
    def log_prob(self, y: Any, f: Float[Array, " k"]) -> Float[Array, ""]:
        """log p(y | f), in nats."""

    @abc.abstractmethod
    def sample(self, key: PRNGKey, f: Float[Array, " k"]) -> Array:
        """One y given f."""

    @abc.abstractmethod
    def moments(self, f: Float[Array, " k"]) -> tuple[Float[Array, "*y"], Float[Array, "*y"]]:
        """E[y | f] and var[y | f]."""

    def check(self, y: np.ndarray) -> np.ndarray:
        """The observations as floats, or an `InputError` that names the first one outside the support."""
        return np.asarray(y, float)

    def expected(self, y: Any, mean: Float[Array, " k"], cov: Float[Array, "k k"]) -> Float[Array, ""]:
        """E[log p(y | f)] for f ~ N(mean, cov)."""
        nodes, log_weights = self.nodes(mean, cov)
        return jnp.exp(log_weights) @ jax.vmap(lambda f: self.log_prob(y, f))(nodes)

    def log_tilted(self, y: Any, mean: Float[Array, " k"], cov: Float[Array, "k k"], power: Scalar) -> Float[Array, ""]:
        """log E[p(y | f)^power] for f ~ N(mean, cov)."""
        # nodes where the tilted density has its mass, frozen: the derivatives in mean and cov are then those of its
        # moments, and the variance that follows from them is positive whatever the error of the quadrature
        fixed = jax.lax.stop_gradient((mean, cov))
        centre, spread = self._tilted_moments(y, *fixed, power, *fixed)
        return self._log_tilted_at(y, mean, cov, power, *jax.lax.stop_gradient((centre, spread)))[0]

    def _tilted_moments(self, y: Any, at: Any, around: Any, power: Scalar, mean: Any, cov: Any) -> tuple[Array, Array]:
        """Moments of the tilted density by nodes of N(at, around)."""
        _, nodes, log_terms = self._log_tilted_at(y, mean, cov, power, at, around)
        weights = jax.nn.softmax(log_terms)
        centre = weights @ nodes
        gap = nodes - centre
        return centre, (gap * weights[:, None]).T @ gap

    def _log_tilted_at(
        self, y: Any, mean: Any, cov: Any, power: Scalar, at: Any, around: Any
    ) -> tuple[Array, Array, Array]:
        """log E[p^power], by nodes of N(at, around); the nodes, and the logs of the sum's terms."""
        points, log_weights = (jnp.asarray(a, mean.dtype) for a in normal_nodes(self.num_values))
        # spread a little wider than the density: its tails may be heavier than a Gaussian's
        nodes = at + points @ root(1.5 * around).T
        ratio = _log_normal(nodes, mean, cov) - _log_normal(nodes, at, 1.5 * around)
        terms = power * jax.vmap(lambda f: self.log_prob(y, f))(nodes) + log_weights + ratio
        return jax.nn.logsumexp(terms), nodes, terms

    def predict(self, mean: Float[Array, " k"], cov: Float[Array, "k k"]) -> tuple[Array, Array]:
        """Mean and variance of y for f ~ N(mean, cov)."""
        nodes, log_weights = self.nodes(mean, cov)
        first, second = jax.vmap(self.moments)(nodes)
        weights = jnp.exp(log_weights).reshape(-1, *[1] * (first.ndim - 1))
        centre = jnp.sum(weights * first, 0)
        return centre, jnp.sum(weights * (second + (first - centre) ** 2), 0)

    def nodes(self, mean: Float[Array, " k"], cov: Float[Array, "k k"]) -> tuple[Array, Array]:
        """Quadrature nodes (q, k) for N(mean, cov) and their log weights (q,)."""
        points, log_weights = normal_nodes(self.num_values)
        return mean + jnp.asarray(points, mean.dtype) @ root(cov).T, jnp.asarray(log_weights, mean.dtype)


def _log_normal(f: Float[Array, "q k"], mean: Float[Array, " k"], cov: Float[Array, "k k"]) -> Float[Array, " q"]:
    """log N(f; mean, cov) + k/2 log 2 pi of each row."""
    tril = root(cov)
    white = jax.scipy.linalg.solve_triangular(tril, (f - mean).T, lower=True)
    return -0.5 * jnp.sum(white**2, 0) - jnp.sum(jnp.log(jnp.diagonal(tril)))


def refuse(y: np.ndarray, wrong: np.ndarray, likelihood: str, support: str) -> None:
    """Raise an `InputError` for the first of the observations that are `wrong`."""
    if wrong.any():
        i = int(np.argmax(wrong))
        more = f" ({int(wrong.sum())} such values)" if wrong.sum() > 1 else ""
        raise InputError(f"{likelihood} wants {support}, and y[{i}] is {y[i]:g}{more}")
