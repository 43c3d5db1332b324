"""Functions of log importance weights: the form that nearly every divergence between q and p has."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float

from jensen.gradient_estimators._draws import log_probs


class OfWeights(eqx.Module):
    """f(q, z) = phi(log w_1, ..., log w_K), log w_k = log p(z_k) - log q(z_k), of K draws concatenated in z.

    What an objective gives to an estimator whose gradient uses that q enters through the weights alone
    (`DoublyReparameterised`, `PathGradient`); every other estimator calls it as any function of q and z.

    `log_density`: log p. `phi`: a function of an array of shape (K,), twice differentiable. `num_weights`: K.
    """

    log_density: Callable[[Float[Array, " d"]], Float[Array, ""]]
    phi: Callable[[Float[Array, " k"]], Float[Array, ""]]
    num_weights: int = eqx.field(static=True)

    def __call__(self, q: Any, z: Float[Array, " n"]) -> Float[Array, ""]:
        return self.phi(self.log_densities(z) - log_probs(q, z))

    def log_densities(self, z: Float[Array, " n"]) -> Float[Array, " k"]:
        """log p(z_k)."""
        if self.num_weights == 1:
            return self.log_density(z)[None]
        return jax.vmap(self.log_density)(z.reshape(self.num_weights, -1))
