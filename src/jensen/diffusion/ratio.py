"""The density ratio of two distributions of noised rows, learned by telling their draws apart."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import PRNGKey
from jensen.core.fields import check_count
from jensen.diffusion.denoisers import features_of, moments_of, noised_features, perceptron
from jensen.families._conditioner import Network, init_network


class RatioNetwork(eqx.Module):
    """l(y, s), trained so that it becomes log p_s(y) / q_s(y): the logit of a discriminator D = 1 / (1 + exp(-l)).

    r = D / (1 - D). `loss` is smallest there, in expectation; with few rows of p a network learns them by heart and
    makes r too large at them, least so where there is much noise. `centre`, `spread`: of the rows, not trained.

    Source: Sugiyama, Suzuki and Kanamori (2012); Goodfellow et al. (2014).
    """

    centre: Float[Array, " d"]
    spread: Float[Array, ""]
    network: Network

    def __call__(self, y: Float[Array, " d"], s: Float[Array, ""]) -> Float[Array, ""]:
        return perceptron(self.network, noised_features(y - self.centre, s, self.spread))[0]

    def loss(self, p: Float[Array, "n d"], q: Float[Array, "n d"], s: Float[Array, " n"]) -> Float[Array, ""]:
        """Mean of softplus(-l) over draws of p_s and softplus(l) over draws of q_s: 2 log 2 at l = 0, in nats."""
        of_p, of_q = jax.vmap(self)(p, s), jax.vmap(self)(q, s)
        return jnp.mean(jax.nn.softplus(-of_p)) + jnp.mean(jax.nn.softplus(of_q))

    def partition(self) -> tuple[Any, Any]:
        """Centre and spread are not trained."""
        wanted = jax.tree.map(eqx.is_inexact_array, self)
        return eqx.partition(self, eqx.tree_at(lambda d: (d.centre, d.spread), wanted, (False, False)))


def ratio_network(key: PRNGKey, X: Any, width: int = 128, depth: int = 2) -> RatioNetwork:
    """A `RatioNetwork` for rows like X, begun at r = 1. Raises `InputError` as `network_denoiser` does."""
    centre, spread = moments_of(X)
    check_count("width", width)
    check_count("depth", depth)
    return RatioNetwork(centre, spread, init_network(key, (features_of(len(centre)), *(width,) * depth, 1), 1))
