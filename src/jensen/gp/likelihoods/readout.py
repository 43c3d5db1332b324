"""Many counts of few latent trajectories: a population of neurons read out linearly."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey, Scalar, scalar_field
from jensen.gp.kernels._fields import as_real
from jensen.gp.likelihoods._base import Likelihood
from jensen.gp.likelihoods.counts import _counts


class PoissonReadout(Likelihood):
    """y_j | f ~ Poisson(exposure * exp(c_j . f + d_j)), j = 1 .. N, given k latent values; E[log p] in closed form.

    `loading`: C, (N, k), one row c_j a count (a neuron). `offset`: d, (N,), log rates at f = 0. `exposure`: what each
    count was collected over (the width of a time bin in seconds). Observations are rows of N counts. Scales and signs
    of C and f are known only up to a common linear map, as in factor analysis, unless the kernels fix the variances.

    Source: Macke et al. (2011); Dowling, Zhao and Park (2023), Linear time GPs for inferring latent trajectories from
    neural spike trains.
    """

    loading: Float[Array, "N k"] = eqx.field(converter=as_real, metadata={"real": True})
    offset: Float[Array, " N"] = eqx.field(converter=as_real, metadata={"real": True})
    exposure: Scalar = scalar_field(1.0, metadata={"fixed": True})

    @property
    def num_values(self) -> int:
        return self.loading.shape[1]

    def check(self, y: np.ndarray) -> np.ndarray:
        if np.ndim(y) != 2 or y.shape[1] != self.loading.shape[0]:
            raise InputError(f"PoissonReadout wants rows of {self.loading.shape[0]} counts, got shape {np.shape(y)}")
        _counts(np.ravel(y), "PoissonReadout")
        return np.asarray(y, float)

    def log_rate(self, f: Float[Array, " k"]) -> Float[Array, " N"]:
        """log E[y | f]."""
        return self.loading @ f + self.offset + jnp.log(self.exposure)

    def log_prob(self, y: Any, f: Float[Array, " k"]) -> Float[Array, ""]:
        log_rate = self.log_rate(f)
        return jnp.sum(y * log_rate - jnp.exp(log_rate) - gammaln(y + 1))

    def sample(self, key: PRNGKey, f: Float[Array, " k"]) -> Array:
        return jax.random.poisson(key, jnp.exp(self.log_rate(f))).astype(f.dtype)

    def moments(self, f: Float[Array, " k"]) -> tuple[Array, Array]:
        rate = jnp.exp(self.log_rate(f))
        return rate, rate

    def expected(self, y: Any, mean: Float[Array, " k"], cov: Float[Array, "k k"]) -> Float[Array, ""]:
        log_rate = self.log_rate(mean)
        inflated = jnp.exp(log_rate + 0.5 * self._spread(cov))
        return jnp.sum(y * log_rate - inflated - gammaln(y + 1))

    def predict(self, mean: Float[Array, " k"], cov: Float[Array, "k k"]) -> tuple[Array, Array]:
        spread = self._spread(cov)
        rate = jnp.exp(self.log_rate(mean) + 0.5 * spread)
        return rate, rate + rate**2 * jnp.expm1(spread)

    def _spread(self, cov: Float[Array, "k k"]) -> Float[Array, " N"]:
        return jnp.einsum("jk,kl,jl->j", self.loading, cov, self.loading)
