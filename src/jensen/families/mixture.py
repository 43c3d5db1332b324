"""Finite mixtures of Gaussians."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Density, PRNGKey
from jensen.families.gaussian import Gaussian


class GaussianMixture(Density):
    """q(z) = sum_k w_k N(z; m_k, L_k L_k^T), w = softmax(logits).

    `logits`: shape (k,). `means`: (k, d). `scale_trils`: (k, d, d), lower triangular. O(k d^2) a density.
    """

    logits: Float[Array, " k"]
    means: Float[Array, "k d"]
    scale_trils: Float[Array, "k d d"]

    @property
    def dimension(self) -> int:
        return self.means.shape[1]

    @property
    def log_weights(self) -> Float[Array, " k"]:
        """log w."""
        return jax.nn.log_softmax(self.logits)

    def sample(self, key: PRNGKey) -> Float[Array, " d"]:
        key_component, key_draw = jax.random.split(key)
        chosen = jax.random.categorical(key_component, self.logits)
        return Gaussian(self.means[chosen], self.scale_trils[chosen]).sample(key_draw)

    def stratified(self, key: PRNGKey, n: int) -> Float[Array, "n d"]:
        """`n` draws in order of components, of which each has n w_k up to one (systematic sampling).

        Each draw has distribution q over a random place; together their means have less variance than of independent
        draws.
        """
        key_offset, key_draws = jax.random.split(key)
        points = (jnp.arange(n) + jax.random.uniform(key_offset)) / n
        chosen = jnp.searchsorted(jnp.cumsum(jnp.exp(self.log_weights)), points)
        chosen = jnp.minimum(chosen, self.logits.shape[0] - 1)
        draw = jax.vmap(lambda k, mean, tril: Gaussian(mean, tril).sample(k))
        return draw(jax.random.split(key_draws, n), self.means[chosen], self.scale_trils[chosen])

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        parts = jax.vmap(lambda mean, tril: Gaussian(mean, tril).log_prob(z))(self.means, self.scale_trils)
        return jax.nn.logsumexp(self.log_weights + parts)

    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        """m = sum w_k m_k and S = sum w_k (S_k + (m_k - m)(m_k - m)^T)."""
        weights = jnp.exp(self.log_weights)
        mean = weights @ self.means
        centred = self.means - mean
        tril = jnp.tril(self.scale_trils)
        within = jnp.einsum("k,kij,klj->il", weights, tril, tril)
        return mean, within + jnp.einsum("k,ki,kj->ij", weights, centred, centred)

    def config(self) -> dict[str, Any]:
        return {"dimension": self.dimension, "components": self.logits.shape[0]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "GaussianMixture":
        d, k = int(config["dimension"]), int(config["components"])
        return cls(jnp.zeros(k), jnp.zeros((k, d)), jnp.broadcast_to(jnp.eye(d), (k, d, d)))
