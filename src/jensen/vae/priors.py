"""Priors of latents: any density serves; here are two that flows and `families` do not bring, and their divergences."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Density, InputError, PRNGKey
from jensen.families import DiagonalGaussian, Gaussian
from jensen.families.bijective import log_standard_normal


class StandardNormal(Density):
    """p(z) = N(z; 0, I_d), with nothing to train."""

    size: int = eqx.field(static=True)

    def __check_init__(self):
        if self.size < 1:
            raise InputError(f"The latent dimension must be at least 1, got {self.size}")

    @property
    def dimension(self) -> int:
        return self.size

    def sample(self, key: PRNGKey) -> Float[Array, " d"]:
        return jax.random.normal(key, (self.size,), jnp.result_type(float))

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return log_standard_normal(z)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "StandardNormal":
        return cls(int(config["dimension"]))


class MixturePrior(Density):
    """p(z) = sum_k w_k N(z; m_k, diag(s_k^2)), w = softmax(logits): a learned prior that can follow clusters.

    `logits`: (k,). `means`, `log_scales`: (k, d).

    Source: as a prior of variational autoencoders: Tomczak and Welling (2018), VAE with a VampPrior, their baseline.
    """

    logits: Float[Array, " k"]
    means: Float[Array, "k d"]
    log_scales: Float[Array, "k d"]

    @property
    def dimension(self) -> int:
        return self.means.shape[1]

    def sample(self, key: PRNGKey) -> Float[Array, " d"]:
        key_component, key_draw = jax.random.split(key)
        k = jax.random.categorical(key_component, self.logits)
        return DiagonalGaussian(self.means[k], self.log_scales[k]).sample(key_draw)

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        parts = jax.vmap(lambda m, s: DiagonalGaussian(m, s).log_prob(z))(self.means, self.log_scales)
        return jax.nn.logsumexp(jax.nn.log_softmax(self.logits) + parts)

    def config(self) -> dict[str, Any]:
        return {"dimension": self.dimension, "components": self.logits.shape[0]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MixturePrior":
        d, k = int(config["dimension"]), int(config["components"])
        return cls(jnp.zeros(k), jnp.zeros((k, d)), jnp.zeros((k, d)))


class RelevancePrior(Density):
    """p(z) = N(z; 0, diag(v)), v = exp(2 `log_scale`): the scale of each axis is what the data make it.

    Set by `Relevance` between steps, or learned by gradients. A scale alone tells nothing: z -> c z with the decoder's
    weights divided by c is the same model; see `vae.relevance`.

    Source: Saha, Joshi and Whitaker (2025), ARD-VAE, with many rows; MacKay (1994) for the idea.
    """

    log_scale: Float[Array, " d"]

    @property
    def dimension(self) -> int:
        return self.log_scale.shape[0]

    def sample(self, key: PRNGKey) -> Float[Array, " d"]:
        return jnp.exp(self.log_scale) * jax.random.normal(key, self.log_scale.shape, self.log_scale.dtype)

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return log_standard_normal(z * jnp.exp(-self.log_scale)) - jnp.sum(self.log_scale)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "RelevancePrior":
        return cls(jnp.zeros(int(config["dimension"])))


def mixture_prior(key: PRNGKey, dimension: int, components: int) -> MixturePrior:
    """Equal weights, means drawn from N(0, I), scales of one half. Raises `InputError` for sizes below one."""
    if min(dimension, components) < 1:
        raise InputError(f"A mixture prior needs sizes of at least 1, got {dimension} and {components} components")
    real = jnp.result_type(float)
    means = jax.random.normal(key, (components, dimension), real)
    return MixturePrior(jnp.zeros(components, real), means, jnp.full(means.shape, jnp.log(0.5), real))


def closed_divergence(q: Any, p: Density) -> Float[Array, ""] | None:
    """KL(q || p) in nats where it is known in closed form, else None.

    p standard normal, or N(0, diag(v)) (`RelevancePrior`), and a q that knows its entropy H, mean m and covariance S:
    1/2 sum_j ((m_j^2 + S_jj) / v_j + log 2 pi v_j) - H. Or a q with `divergence_to(p)`, such as `BinaryLatents`.
    """
    if hasattr(q, "divergence_to"):
        return q.divergence_to(p)
    if isinstance(p, RelevancePrior) and hasattr(q, "entropy") and hasattr(q, "mean_and_cov"):
        return _cross_entropy(q, p.log_scale) - q.entropy()
    if not isinstance(p, StandardNormal):
        return None
    if isinstance(q, DiagonalGaussian):
        return jnp.sum(units_divergence(q.mean, q.log_scale))
    if isinstance(q, Gaussian):
        tril = jnp.tril(q.scale_tril)
        log_det = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(tril))))
        return 0.5 * (jnp.sum(q.mean**2) + jnp.sum(tril**2) - q.dimension) - log_det
    if hasattr(q, "entropy") and hasattr(q, "mean_and_cov"):
        return _cross_entropy(q, jnp.zeros(q.dimension)) - q.entropy()
    return None


def _cross_entropy(q: Any, log_scale: Float[Array, " d"]) -> Float[Array, ""]:
    """E_q[-log N(z; 0, diag(exp(2 log_scale)))], in nats."""
    mean, cov = q.mean_and_cov()
    second = mean**2 + jnp.diagonal(cov)
    return jnp.sum(0.5 * second * jnp.exp(-2 * log_scale) + log_scale + 0.5 * math.log(2 * math.pi))


def units_divergence(mean: Float[Array, "*rows d"], log_scale: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
    """KL(N(m_j, s_j^2) || N(0, 1)) of each unit j, in nats."""
    return 0.5 * (mean**2 + jnp.exp(2 * log_scale) - 1) - log_scale
