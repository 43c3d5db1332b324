"""K independent draws of a family as one draw of R^(K d)."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey, Reparameterised


class Replicated(Reparameterised):
    """q(z_1) ... q(z_K) as a distribution of the concatenated z, so that functions of K draws have expectations too."""

    q: Reparameterised
    num: int = eqx.field(static=True)

    @property
    def dimension(self) -> int:
        return self.num * self.q.dimension

    def noise(self, key: PRNGKey) -> Any:
        return jax.vmap(self.q.noise)(jax.random.split(key, self.num))

    def from_noise(self, eps: Any) -> Float[Array, " n"]:
        return jax.vmap(self.q.from_noise)(eps).reshape(-1)

    def log_prob(self, z: Float[Array, " n"]) -> Float[Array, ""]:
        return jnp.sum(jax.vmap(self.q.log_prob)(self.split(z)))

    def split(self, z: Float[Array, " n"]) -> Float[Array, "k d"]:
        """The K draws in z."""
        return z.reshape(self.num, -1)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Replicated":
        raise InputError("Replicated is a device inside objectives and is never part of a posterior")
