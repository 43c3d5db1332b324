"""Heads: context vectors as densities."""

import dataclasses
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.amortised._layers import Perceptron, perceptron
from jensen.amortised.conditional import Head
from jensen.amortised.contextual_flow import ContextualFlow, contextual_flow
from jensen.core import Compiled, InputError, PRNGKey
from jensen.core.compiled import PASSES
from jensen.families import GaussianMixture

MIN_LOG_SCALE = -7.0  # of a component, in units of the prior's spread: a likelihood may not run away to a point


class MixtureHead(Head):
    """q = sum_k w_k N(m_k, L_k L_k^T) with (w, m, L) = perceptron(context), in units of the spread of prior draws.

    Source: Bishop (1994), Mixture density networks; Papamakarios and Murray (2016).
    """

    centre: Float[Array, " d"]
    spread: Float[Array, " d"]
    network: Perceptron
    components: int = eqx.field(static=True)

    @property
    def dimension(self) -> int:
        return self.centre.shape[0]

    def density(self, context: Float[Array, " c"]) -> GaussianMixture:
        k, d = self.components, self.dimension
        raw = self.network(context)
        logits, means, flat = raw[:k], raw[k : k + k * d].reshape(k, d), raw[k + k * d :].reshape(k, -1)
        return mixture(logits, means, flat, *jax.lax.stop_gradient((self.centre, self.spread)))


def mixture(
    logits: Float[Array, " k"],
    means: Float[Array, "k d"],
    flat: Float[Array, "k n"],
    centre: Float[Array, " d"],
    spread: Float[Array, " d"],
) -> GaussianMixture:
    """The mixture of raw numbers: any are valid. `flat` holds the log diagonals of L, then the lower parts."""
    d = means.shape[1]
    diagonal = jnp.exp(jax.nn.softplus(flat[:, :d] - MIN_LOG_SCALE) + MIN_LOG_SCALE)
    rows, columns = jnp.tril_indices(d, -1)
    tril = jax.vmap(jnp.diag)(diagonal).at[:, rows, columns].set(flat[:, d:] * diagonal[:, rows])
    return GaussianMixture(logits, centre + spread * means, spread[:, None] * tril)


class FlowHead(Head):
    """q = the image of N(0, I) under spline couplings that see the context, in units of the spread of prior draws.

    Source: Papamakarios, Sterratt and Murray (2019); Durkan, Bekasov, Murray and Papamakarios (2019).
    """

    flow: ContextualFlow

    @property
    def dimension(self) -> int:
        return self.flow.dimension

    def density(self, context: Float[Array, " c"]) -> ContextualFlow:
        return self.flow.at(context)


@partial(Compiled, small=PASSES)
def _moments(z: Float[Array, "n d"]) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
    return jnp.mean(z, 0), jnp.std(z, 0)


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Builds a `MixtureHead`: the density, its moments and draws in closed form."""

    components: int = 8
    width: int = 64

    def build(self, key: PRNGKey, z: Float[Array, "n d"], context: int) -> MixtureHead:
        """`z`: draws of the prior, shape (n, d). Raises `InputError` for less than one component."""
        if self.components < 1:
            raise InputError(f"components must be at least 1, got {self.components}")
        d, k = z.shape[1], self.components
        key_net, key_means = jax.random.split(key)
        size = k * (1 + 2 * d + d * (d - 1) // 2)
        network = perceptron(key_net, (context, self.width, self.width, size), last=0.1)
        # means apart from one another, or all components would follow the same gradient
        first = jnp.zeros(size, z.dtype).at[k : k + k * d].set(jax.random.normal(key_means, (k * d,), z.dtype))
        network = eqx.tree_at(lambda n: n.biases[-1], network, first)
        centre, spread = _moments(z)
        return MixtureHead(centre, spread, network, k)


@dataclasses.dataclass(frozen=True)
class SplineFlow:
    """Builds a `FlowHead`: for posteriors that no few Gaussians fit; dearer to train and to draw from."""

    layers: int = 4
    knots: int = 8
    width: int = 64

    def build(self, key: PRNGKey, z: Float[Array, "n d"], context: int) -> FlowHead:
        """`z`: draws of the prior, shape (n, d)."""
        centre, spread = _moments(z)
        return FlowHead(contextual_flow(key, centre, spread, context, self.layers, self.knots, self.width))
