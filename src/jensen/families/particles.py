"""Weighted points."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Family, PRNGKey


class Particles(Family):
    """The empirical measure q = sum_i w_i delta(z_i), w = softmax(logits): draws, and no density.

    `z`: shape (n, d). `logits`: shape (n,). What Stein particles, SMC and simulators leave; nothing that needs a
    density or a reparameterisation can use it.
    """

    z: Float[Array, "n d"]
    logits: Float[Array, " n"]

    @property
    def dimension(self) -> int:
        return self.z.shape[1]

    def sample(self, key: PRNGKey) -> Float[Array, " d"]:
        return self.z[jax.random.categorical(key, self.logits)]

    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        """m = sum w_i z_i and sum w_i (z_i - m)(z_i - m)^T."""
        weights = jax.nn.softmax(self.logits)
        mean = weights @ self.z
        centred = self.z - mean
        return mean, (centred * weights[:, None]).T @ centred

    def config(self) -> dict[str, Any]:
        return {"dimension": self.dimension, "num_particles": self.z.shape[0]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Particles":
        n = int(config["num_particles"])
        return cls(jnp.zeros((n, int(config["dimension"]))), jnp.zeros(n))
