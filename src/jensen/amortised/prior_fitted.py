"""Prior-data fitted networks: posterior predictive densities in one forward pass."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.amortised._layers import Perceptron, Standard, Transformer, perceptron, standard, transformer
from jensen.amortised.bars import Bars, quantile_edges
from jensen.amortised.conditional import Conditional
from jensen.core import PRNGKey


class PriorFittedNetwork(Conditional):
    """q(y* | x*, D) = bars(transformer(context tokens, query token)): a learned posterior predictive density.

    Data are a dict: `x` of shape (n, p) and `y` (n,) the context, `mask` (n,) which of it there is, `query` (m, p). The
    unknowns are the m responses at the queries, independent given D: what is learned are their margins. Everybody sees
    the context, a query also itself, and nothing else: queries do not know of one another, nor does the context's order
    matter.

    Source: Müller, Hollmann, Pineda Arango, Grabocka, Hutter (2022), Transformers can do Bayesian inference.
    """

    inputs: Standard
    outputs: Standard
    embed_x: Perceptron
    embed_y: Perceptron
    transformer: Transformer
    out: Perceptron
    edges: Float[Array, " edges"]
    queries: int = eqx.field(static=True)

    @property
    def dimension(self) -> int:
        return self.queries

    def given(self, data: Any) -> Bars:
        x, y, mask, query = data["x"], data["y"], data["mask"].astype(bool), data["query"]
        place = jax.vmap(self.embed_x)(self.inputs(jnp.concatenate([x, query])))
        response = jax.vmap(self.embed_y)(self.outputs(y[:, None]))
        n, m = x.shape[0], query.shape[0]
        tokens = place.at[:n].add(response)
        seen = jnp.concatenate([mask, jnp.zeros(m, bool)])[None, :] | jnp.eye(n + m, dtype=bool)
        tokens = self.transformer(tokens, seen)
        return Bars(jax.lax.stop_gradient(self.edges), jax.vmap(self.out)(tokens[n:]))


def prior_fitted_network(
    key: PRNGKey, z: Float[Array, "n m"], data: Any, bars: int = 64, width: int = 64, blocks: int = 3, heads: int = 4
) -> PriorFittedNetwork:
    """An untrained network; `z` and `data` are simulated pairs, leading axis pairs (`amortised.simulations`).

    Bars hold equal mass under the prior's own responses. Raises `InputError` for sizes that do not fit.
    """
    keys = jax.random.split(key, 4)
    x = data["query"].reshape(-1, data["query"].shape[-1])
    return PriorFittedNetwork(
        standard(x),
        standard(z.reshape(-1, 1)),
        perceptron(keys[0], (x.shape[1], width)),
        perceptron(keys[1], (1, width)),
        transformer(keys[2], width, blocks, heads),
        perceptron(keys[3], (width, width, bars), last=0.1),
        quantile_edges(z, bars),
        z.shape[1],
    )
