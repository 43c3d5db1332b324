"""Finite mixtures of Gaussians."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Density, InputError, PRNGKey, Scalar, scalar_field
from jensen.families._builders import Builder
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


class Mixture(Builder):
    """`GaussianMixture` of K components about a Gaussian N(m, S): w_k = 1 / K, m_k ~ N(m, (1 - c^2) S), S_k = c^2 S.

    Mean and covariance are those of the Gaussian in expectation over the m_k. `num_components`: K. `width`: c in
    (0, 1]; a small one lets components part, so that each may find a mode of its own.
    Trained by `GradientVI` with `gradient_estimators.StratifiedStickingTheLanding` or `Stratified`.

    Raises `InputError` for K < 1 or a width outside (0, 1].
    """

    num_components: int = eqx.field(static=True, default=4)
    width: Scalar = scalar_field(0.5)

    def __check_init__(self):
        if self.num_components < 1:
            raise InputError(f"num_components must be at least 1, got {self.num_components}")
        if not 0 < self.width <= 1:
            raise InputError(f"width must lie in (0, 1], got {self.width}")

    def build(self, key: PRNGKey, gaussian: Gaussian) -> GaussianMixture:
        k, tril = self.num_components, jnp.tril(gaussian.scale_tril)
        spread = jnp.sqrt(1 - self.width**2).astype(tril.dtype)
        means = gaussian.mean + spread * jax.random.normal(key, (k, gaussian.dimension), tril.dtype) @ tril.T
        return GaussianMixture(
            jnp.zeros(k, tril.dtype), means, jnp.broadcast_to((self.width * tril).astype(tril.dtype), (k, *tril.shape))
        )
