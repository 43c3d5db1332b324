"""Latents that are bits, or one of several: densities on 0 and 1 whose moments are known."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Density, PRNGKey
from jensen.vae.heads import SizedHead


class BinaryLatents(Density):
    """q(z) = prod_j p_j^z_j (1 - p_j)^(1 - z_j) on {0, 1}^d, p = sigma(logits): mean p, covariance diag(p (1 - p)).

    As a posterior and, with logits of zero or trained ones, as a prior. Gradients by `ScoreFunction`, or without noise
    where the decoder is linear (`ClosedGaussianElbo`).
    """

    logits: Float[Array, " d"]

    @property
    def dimension(self) -> int:
        return self.logits.shape[0]

    def sample(self, key: PRNGKey) -> Float[Array, " d"]:
        return jax.random.bernoulli(key, jax.nn.sigmoid(self.logits)).astype(self.logits.dtype)

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return jnp.sum(z * self.logits - jax.nn.softplus(self.logits))

    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        """p and diag(p (1 - p))."""
        p = jax.nn.sigmoid(self.logits)
        return p, jnp.diag(p * (1 - p))

    def divergence_to(self, other: Any) -> Float[Array, ""] | None:
        """KL(q || other) in nats, of independent bits; None for another family."""
        if not isinstance(other, BinaryLatents):
            return None
        p = jax.nn.sigmoid(self.logits)
        apart = jax.nn.softplus(other.logits) - jax.nn.softplus(self.logits)
        return jnp.sum(p * (self.logits - other.logits) + apart)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "BinaryLatents":
        return cls(jnp.zeros(int(config["dimension"])))


class OneHotLatents(Density):
    """q(z = e_j) = p_j, p = softmax(logits), e_j the unit vectors: mean p, covariance diag(p) - p p^T.

    Off the diagonal the covariance is not zero, for one category excludes the others.
    """

    logits: Float[Array, " d"]

    @property
    def dimension(self) -> int:
        return self.logits.shape[0]

    def sample(self, key: PRNGKey) -> Float[Array, " d"]:
        return jax.nn.one_hot(jax.random.categorical(key, self.logits), self.dimension, dtype=self.logits.dtype)

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return z @ jax.nn.log_softmax(self.logits)

    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        """p and diag(p) - p p^T."""
        p = jax.nn.softmax(self.logits)
        return p, jnp.diag(p) - jnp.outer(p, p)

    def divergence_to(self, other: Any) -> Float[Array, ""] | None:
        """KL(q || other) in nats, of one of several; None for another family."""
        if not isinstance(other, OneHotLatents):
            return None
        log_p = jax.nn.log_softmax(self.logits)
        return jnp.exp(log_p) @ (log_p - jax.nn.log_softmax(other.logits))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "OneHotLatents":
        return cls(jnp.zeros(int(config["dimension"])))


class BinaryHead(SizedHead):
    """q(z | x) = `BinaryLatents`, logits = context."""

    @property
    def context(self) -> int:
        return self.size

    def density(self, context: Float[Array, " c"]) -> BinaryLatents:
        return BinaryLatents(context)


class OneHotHead(SizedHead):
    """q(z | x) = `OneHotLatents`, logits = context."""

    @property
    def context(self) -> int:
        return self.size

    def density(self, context: Float[Array, " c"]) -> OneHotLatents:
        return OneHotLatents(context)
