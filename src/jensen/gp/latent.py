"""Latent Gaussian models as targets: a Gaussian-process prior, a likelihood, observations."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jensen.core import GaussianPrior, InputError, Scalar, Space, Target, real_space
from jensen.gp.likelihoods import Likelihood


class Terms(eqx.Module):
    """Likelihood terms of some observations, to the powers `weights`: the methods of `LatentGaussian`, a value each."""

    likelihood: Likelihood
    y: Any
    weights: Float[Array, " n"]

    def log_terms(self, f: Float[Array, "n k"]) -> Float[Array, " n"]:
        """w_i log p(y_i | f_i)."""
        return self.weights * jax.vmap(self.likelihood.log_prob)(self.y, f)

    def expected(self, mean: Float[Array, "n k"], cov: Float[Array, "n k k"]) -> Float[Array, " n"]:
        """w_i E[log p(y_i | f_i)]."""
        return self.weights * jax.vmap(self.likelihood.expected)(self.y, mean, cov)

    def log_tilted(self, mean: Float[Array, "n k"], cov: Float[Array, "n k k"], power: Scalar) -> Float[Array, " n"]:
        """log E[p(y_i | f_i)^(w_i power)]."""
        return jax.vmap(self.likelihood.log_tilted)(self.y, mean, cov, power * self.weights)


class LatentModel(Target):
    """p(y, f) = N(f; m, K) prod_i p(y_i | f_i), over white coordinates z ~ N(0, I) with f affine in z.

    log_density(z) = log N(z; 0, I) + sum_i E[log p(y_i | f_i) | z]: the expectation is over the residual that z leaves
    (none for exact priors, so that this is the model itself; for inducing points the free-form variational density
    of the inducing variables, whose normaliser is a lower bound on the evidence).

    Offers `LatentGaussian` (for `CVI`, `EP`, `ADF`, `SiteLaplace`), a log density (for every other method), and on an
    inducing-point prior rows: `targets.Minibatched(model, 256)` for `StochasticCVI`, `GradientVI` and the like.
    """

    prior: GaussianPrior
    likelihood: Likelihood
    y: Any
    weights: Float[Array, " n"]
    space: Space

    def __init__(self, prior: GaussianPrior, likelihood: Likelihood, y: Any, weights: Any = None):
        """Checks y against the likelihood's support; `weights` (n,) are powers of the terms, 1 where None.

        Raises `InputError`.
        """
        y = likelihood.check(np.asarray(y))
        if len(y) != prior.num_sites:
            raise InputError(f"The prior has {prior.num_sites} sites and y has {len(y)} values: one for each is wanted")
        if prior.num_values != likelihood.num_values:
            raise InputError(
                f"{type(likelihood).__name__} sees {likelihood.num_values} latent values at each site and the "
                f"prior has {prior.num_values}: give it {likelihood.num_values} kernels"
            )
        self.prior, self.likelihood = prior, likelihood
        self.y = jnp.asarray(y, jnp.result_type(float))
        self.weights = jnp.ones(len(y), jnp.result_type(float)) if weights is None else jnp.asarray(weights)
        self.space = real_space(z=(prior.dimension,))

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return self.log_prior(z) + jnp.sum(self.log_likelihood(z))

    @property
    def num_rows(self) -> int:
        """n."""
        return self.prior.num_sites

    def log_prior(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        """log N(z; 0, I)."""
        return jnp.sum(jax.scipy.stats.norm.logpdf(z))

    def log_likelihood(self, z: Float[Array, " d"]) -> Float[Array, " n"]:
        """E[log p(y_i | f_i) | z]."""
        return self.expected(*self.prior.from_white(z))

    def minibatch(self, rows: Int[Array, " b"]) -> "LatentModel":
        """The model of these rows with their terms to the power n / b; raises `MissingCapability` for dense priors."""
        parts = (self.prior.restricted(rows), self.y[rows], self.weights[rows] * (self.num_rows / rows.shape[0]))
        return eqx.tree_at(lambda m: (m.prior, m.y, m.weights), self, parts)

    def weighted(self, weights: Float[Array, " n"]) -> "LatentModel":
        """The model with its terms to these powers besides their own: how streamed batches are scaled to all rows."""
        return eqx.tree_at(lambda m: m.weights, self, self.weights * weights.astype(self.weights.dtype))

    @property
    def all_terms(self) -> Terms:
        """The terms of all observations."""
        return Terms(self.likelihood, self.y, self.weights)

    def log_terms(self, f: Float[Array, "n k"]) -> Float[Array, " n"]:
        return self.all_terms.log_terms(f)

    def expected(self, mean: Float[Array, "n k"], cov: Float[Array, "n k k"]) -> Float[Array, " n"]:
        return self.all_terms.expected(mean, cov)

    def log_tilted(self, mean: Float[Array, "n k"], cov: Float[Array, "n k k"], power: Scalar) -> Float[Array, " n"]:
        return self.all_terms.log_tilted(mean, cov, power)

    def terms(self, rows: Int[Array, " b"]) -> "Terms":
        return Terms(self.likelihood, self.y[rows], self.weights[rows])
