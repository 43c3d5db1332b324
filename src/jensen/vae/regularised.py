"""Deterministic autoencoders: a point for each row, kept short."""

from typing import Any, ClassVar

import jax
import jax.core
import jax.numpy as jnp

from jensen.core import Estimate, InputError, Objective, PRNGKey, Scalar, scalar_field


class RegularisedLikelihood(Objective):
    """-log p(x | m) + w |m|^2 / 2, m = E_q z, w = `weight`: an autoencoder with short codes, and no noise.

    q's spread is not used, and not trained. w = 0 is the plain autoencoder. No evidence is bounded, and draws from the
    prior are poor: fit a density to the codes afterwards (`ex_post`).

    Raises `InputError` for a negative weight.

    Source: Ghosh, Sajjadi, Vergari, Black and Schoelkopf (2020), From variational to deterministic autoencoders.
    """

    bound: ClassVar[str | None] = None
    weight: Scalar = scalar_field(0.0)

    def __check_init__(self):
        if not isinstance(self.weight, jax.core.Tracer) and not float(self.weight) >= 0:
            raise InputError(f"The weight of the codes' length must not be negative, got {float(self.weight):g}")

    def loss(self, key: PRNGKey, q: Any, target: Any) -> Estimate:
        mean = q.mean_and_cov()[0]
        value = 0.5 * self.weight * jnp.sum(mean**2) - target.log_likelihood(mean)
        return Estimate(value, value, jnp.zeros_like(value))
