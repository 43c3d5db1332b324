"""Latents of which one is the category of a row, relaxed so that gradients pass, and the others how it varies."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.amortised import Head
from jensen.core import Density, InputError, PRNGKey, Reparameterised, Scalar, scalar_field
from jensen.families.bijective import log_standard_normal

TINY = 1e-30  # below which a relaxed one-hot value counts as this much


class CategoryNormal(Density):
    """p(c, s) = 1/K on the K one-hot vectors c, times N(s; 0, I): latents (c, s) in R^(K + S).

    `log_prob` counts c as a category, whatever its values: - log K + log N(s; 0, I).
    """

    categories: int = eqx.field(static=True)
    size: int = eqx.field(static=True)

    def __check_init__(self):
        _check(self.categories, self.size)

    @property
    def dimension(self) -> int:
        return self.categories + self.size

    def sample(self, key: PRNGKey) -> Float[Array, " d"]:
        key_category, key_state = jax.random.split(key)
        real = jnp.result_type(float)
        chosen = jax.random.randint(key_category, (), 0, self.categories)
        state = jax.random.normal(key_state, (self.size,), real)
        return jnp.concatenate([jax.nn.one_hot(chosen, self.categories, dtype=real), state])

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return log_standard_normal(z[self.categories :]) - math.log(self.categories)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "CategoryNormal":
        raise InputError("A prior of categories is not stored by its dimension alone: build it anew")


class ConcreteNormal(Reparameterised):
    """q(c, s) = Concrete(c; softmax(logits), tau) N(s; m + B c, diag(e^(2 r))): a relaxed category and its state.

    c = softmax((logits + g) / tau), g Gumbel: its largest value falls on k with probability softmax(logits)_k at every
    tau, and c tends to a one-hot vector as tau tends to zero. log_prob is per unit of the simplex' first K - 1
    coordinates. What is evaluated between categories is biased, by less the smaller tau, at the price of variance.

    `logits`: (K,). `mean`, `log_scale`: (S,). `shift`: B, (S, K).

    Source: Maddison, Mnih and Teh (2017); Jang, Gu and Poole (2017).
    """

    logits: Float[Array, " K"]
    mean: Float[Array, " S"]
    shift: Float[Array, "S K"]
    log_scale: Float[Array, " S"]
    temperature: Scalar

    @property
    def dimension(self) -> int:
        return self.logits.shape[0] + self.mean.shape[0]

    def noise(self, key: PRNGKey) -> tuple[Float[Array, " K"], Float[Array, " S"]]:
        key_category, key_state = jax.random.split(key)
        real = jnp.result_type(float)
        return jax.random.gumbel(key_category, self.logits.shape, real), jax.random.normal(
            key_state, self.mean.shape, real
        )

    def from_noise(self, eps: tuple[Float[Array, " K"], Float[Array, " S"]]) -> Float[Array, " d"]:
        c = jax.nn.softmax((self.logits + eps[0].astype(self.logits.dtype)) / self.temperature)
        s = self.mean + self.shift @ c + jnp.exp(self.log_scale) * eps[1].astype(self.mean.dtype)
        return jnp.concatenate([c, s])

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        k = self.logits.shape[0]
        log_c, tau = jnp.log(jnp.maximum(z[:k], TINY)), self.temperature
        shares = jax.nn.log_softmax(self.logits)
        below = k * jax.nn.logsumexp(shares - tau * log_c)
        relaxed = math.lgamma(k) + (k - 1) * jnp.log(tau) + jnp.sum(shares - (tau + 1) * log_c) - below
        apart = (z[k:] - self.mean - self.shift @ z[:k]) * jnp.exp(-self.log_scale)
        return relaxed + log_standard_normal(apart) - jnp.sum(self.log_scale)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ConcreteNormal":
        raise InputError("A relaxed category is not stored by its dimension alone: build it anew")


class ConcreteHead(Head):
    """A `ConcreteNormal` of K `categories` and `size` states from K + 2 S numbers (logits, m, r); B is trained."""

    shift: Float[Array, "S K"]
    temperature: Scalar = scalar_field(0.5)

    def __check_init__(self):
        _check(self.shift.shape[1], self.shift.shape[0])

    @property
    def dimension(self) -> int:
        return sum(self.shift.shape)

    @property
    def context(self) -> int:
        """Numbers that the encoder gives."""
        return self.shift.shape[1] + 2 * self.shift.shape[0]

    def density(self, context: Float[Array, " c"]) -> ConcreteNormal:
        size, k = self.shift.shape
        logits, mean, log_scale = context[:k], context[k : k + size], context[k + size :]
        return ConcreteNormal(logits, mean, self.shift, log_scale, jax.lax.stop_gradient(self.temperature))


def concrete_head(categories: int, size: int, temperature: float = 0.5) -> ConcreteHead:
    """With B = 0. Raises `InputError` for fewer than two categories or one state, or a temperature of zero or less."""
    _check(categories, size)
    if not temperature > 0:
        raise InputError(f"The temperature must be positive, got {temperature}")
    return ConcreteHead(jnp.zeros((size, categories), jnp.result_type(float)), temperature)


def _check(categories: int, size: int) -> None:
    if categories < 2 or size < 1:
        raise InputError(f"Relaxed categories want 2 or more of them and 1 or more states, got {categories} and {size}")
