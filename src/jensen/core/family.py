"""Families q: trainable distributions on R^d."""

import abc
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float

from jensen.core.random import PRNGKey


class Family(eqx.Module):
    """A distribution on R^d that can be drawn from: the least that a family offers."""

    @property
    @abc.abstractmethod
    def dimension(self) -> int:
        """d."""

    @abc.abstractmethod
    def sample(self, key: PRNGKey) -> Float[Array, " d"]:
        """One draw."""

    def partition(self) -> tuple["Family", "Family"]:
        """(trainable, rest), with `eqx.combine(trainable, rest) == self`; all inexact arrays train by default."""
        return eqx.partition(self, eqx.is_inexact_array)

    def config(self) -> dict[str, Any]:
        """Plain data from which `from_config` builds a member of the same structure, for saving."""
        return {"dimension": self.dimension}

    def stored(self) -> "Family":
        """The family that is saved in place of this one: itself, unless it holds what belongs to a model."""
        return self

    @classmethod
    @abc.abstractmethod
    def from_config(cls, config: dict[str, Any]) -> "Family":
        """A member with the structure that `config` tells; its arrays are placeholders of the right shapes."""


class Density(Family):
    """A family with a tractable log density."""

    @abc.abstractmethod
    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        """log q(z), normalised, in nats."""

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        """A draw and its log density; override where the two share work."""
        z = self.sample(key)
        return z, self.log_prob(z)


class Reparameterised(Density):
    """A density whose draws are a differentiable function of noise that does not depend on its parameters."""

    @abc.abstractmethod
    def noise(self, key: PRNGKey) -> Any:
        """Noise eps, free of the family's parameters."""

    def noise_many(self, key: PRNGKey, n: int) -> Any:
        """Noise of `n` independent draws, leading axis n; override where one call of the generator makes it all."""
        return jax.vmap(self.noise)(jax.random.split(key, n))

    @abc.abstractmethod
    def from_noise(self, eps: Any) -> Float[Array, " d"]:
        """z(eps), differentiable in the family's parameters."""

    def from_noise_and_log_prob(self, eps: Any) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        """z(eps) and log q(z(eps)); override where the forward pass gives both (flows)."""
        z = self.from_noise(eps)
        return z, self.log_prob(z)

    def sample(self, key: PRNGKey) -> Float[Array, " d"]:
        return self.from_noise(self.noise(key))

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        return self.from_noise_and_log_prob(self.noise(key))


def sample_many(key: PRNGKey, q: Family, n: int) -> Float[Array, "n d"]:
    """`n` independent draws."""
    return jax.vmap(q.sample)(jax.random.split(key, n))
