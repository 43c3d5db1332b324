"""Mixtures of Gaussians, among them two modes far apart."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey, Scalar, Space, as_scalar, real_space, require
from jensen.targets.synthetic._base import SyntheticTarget
from jensen.targets.synthetic.gaussian import as_vector


class GaussianMixtureTarget(SyntheticTarget):
    """log p(z) = log Z + log sum_k w_k N(z; m_k, L_k L_k^T).

    `log_weights`: log w_k, normalised, shape (k,). `means`: shape (k, d). `scale_trils`: L_k, shape (k, d, d).
    """

    log_weights: Float[Array, " k"]
    means: Float[Array, "k d"]
    scale_trils: Float[Array, "k d d"]
    log_evidence: Scalar

    def __init__(
        self,
        log_weights: Float[Array, " k"],
        means: Float[Array, "k d"],
        scale_trils: Float[Array, "k d d"],
        log_evidence: Any = 0.0,
    ):
        self.log_weights, self.means, self.scale_trils = log_weights, means, scale_trils
        self.log_evidence = as_scalar(log_evidence)

    @property
    def space(self) -> Space:
        return real_space(z=self.means.shape[1:])

    def component_log_probs(self, z: Float[Array, " d"]) -> Float[Array, " k"]:
        """log w_k + log N(z; m_k, S_k) of every component."""

        def one(mean: Float[Array, " d"], tril: Float[Array, "d d"]) -> Float[Array, ""]:
            eps = solve_triangular(tril, z - mean, lower=True)
            return jnp.sum(norm.logpdf(eps)) - jnp.sum(jnp.log(jnp.diagonal(tril)))

        return self.log_weights + jax.vmap(one)(self.means, self.scale_trils)

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return self.log_evidence + logsumexp(self.component_log_probs(z))

    def exact_draws(self, key: PRNGKey, n: int) -> Float[Array, "n d"]:
        key_component, key_noise = jax.random.split(key)
        k = jax.random.categorical(key_component, self.log_weights, shape=(n,))
        eps = jax.random.normal(key_noise, (n, self.means.shape[1]), self.means.dtype)
        return self.means[k] + jnp.einsum("nij,nj->ni", self.scale_trils[k], eps)

    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        weights = jnp.exp(self.log_weights)
        mean = weights @ self.means
        centred = self.means - mean
        within = jnp.einsum("k,kij,klj->il", weights, self.scale_trils, self.scale_trils)
        return mean, within + (centred * weights[:, None]).T @ centred


def gaussian_mixture_target(weights: Any, means: Any, covs: Any, log_evidence: float = 0.0) -> GaussianMixtureTarget:
    """A mixture from weights (k,), means (k, d) and covariances (k, d, d); weights are normalised.

    Raises `InputError` where shapes do not agree, a weight is not positive or a covariance is not positive definite.
    """
    weights, means, covs = as_vector(weights), as_vector(means), as_vector(covs)
    require(
        weights.ndim == 1
        and means.ndim == 2
        and means.shape[0] == weights.size
        and covs.shape == (*means.shape, means.shape[1]),
        f"weights (k,), means (k, d) and covs (k, d, d) are wanted, got {weights.shape}, {means.shape}, {covs.shape}",
    )
    trils = jnp.linalg.cholesky(covs)
    if not bool(jnp.all(weights > 0)) or not bool(np.all(np.isfinite(trils))):
        raise InputError("weights must be positive and covs positive definite")
    log_weights = jnp.log(weights / jnp.sum(weights))
    return GaussianMixtureTarget(log_weights, means, trils, log_evidence)


def two_modes(
    dimension: int = 2, separation: float = 10.0, weight: float = 0.3, log_evidence: float = 0.0
) -> GaussianMixtureTarget:
    """Two unit Gaussians with means -+ `separation` / 2 along every axis; the first has mass `weight`.

    Raises `InputError` for a weight outside (0, 1) or a dimension below 1.
    """
    require(dimension >= 1 and 0 < weight < 1, "dimension must be at least 1 and weight between 0 and 1")
    half = 0.5 * separation * jnp.ones(dimension)
    covs = jnp.broadcast_to(jnp.eye(dimension), (2, dimension, dimension))
    return gaussian_mixture_target([weight, 1 - weight], jnp.stack([-half, half]), covs, log_evidence)
