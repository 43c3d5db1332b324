"""Distribution transformers: the prior itself is an input."""

import math
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.amortised._layers import Perceptron, Standard, Transformer, perceptron, standard, transformer
from jensen.amortised.conditional import Conditional
from jensen.amortised.encoders import rows
from jensen.amortised.heads import MIN_LOG_SCALE
from jensen.core import Compiled, PRNGKey
from jensen.core.compiled import PASSES
from jensen.families import GaussianMixture


class DistributionTransformer(Conditional):
    """q(z | phi, data) = a Gaussian mixture, each component the transformed token of a component of the prior phi.

    Data are a dict: `prior`, a `GaussianMixture`, which may differ from one call to the next, and `observed`, arrays
    with a leading axis of observations (a `mask` among them says which there are). A component's token is made of its
    weight, mean and scale, and comes out as a change of them: at the start the posterior is the prior. Neither the
    order of components nor that of observations matters.

    Components see components and observations, observations one another, in one attention (the paper: self-attention
    over components, then cross-attention to observations). Outside the priors that it was trained on nothing guards
    it: certify, with the prior and likelihood at hand.

    Source: Whittle, Ziomek, Rawling, Osborne (2025), Distribution transformers.
    """

    inputs: Standard
    observations: Standard
    embed_component: Perceptron
    embed_observation: Perceptron
    transformer: Transformer
    out: Perceptron
    size: int = eqx.field(static=True)

    @property
    def dimension(self) -> int:
        return self.size

    def given(self, data: Any) -> GaussianMixture:
        prior: GaussianMixture = data["prior"]
        components = component_rows(prior)
        observed, present = rows(data["observed"], components.dtype)
        k, n = components.shape[0], observed.shape[0]
        tokens = jnp.concatenate(
            [
                jax.vmap(self.embed_component)(self.inputs(components)),
                jax.vmap(self.embed_observation)(self.observations(observed)),
            ]
        )
        is_component = jnp.arange(k + n) < k
        visible = jnp.concatenate([jnp.ones(k, bool), present])
        sees = visible[None, :] & (is_component[:, None] | ~is_component[None, :])
        tokens = self.transformer(tokens, sees | jnp.eye(k + n, dtype=bool))
        change = jax.vmap(self.out)(tokens[:k])
        d = self.size
        spread = jnp.sqrt(jnp.sum(prior.scale_trils**2, axis=2))
        means = prior.means + spread * change[:, 1 : 1 + d]
        # L = L_prior A, A lower triangular with positive diagonal, the identity where the change is zero
        log_diagonal = MIN_LOG_SCALE + jax.nn.softplus(change[:, 1 + d : 1 + 2 * d] + _identity())
        factor = jax.vmap(jnp.diag)(jnp.exp(log_diagonal))
        at = jnp.tril_indices(d, -1)
        factor = factor.at[:, at[0], at[1]].set(change[:, 1 + 2 * d :])
        return GaussianMixture(prior.log_weights + change[:, 0], means, jnp.tril(prior.scale_trils) @ factor)


def _identity() -> float:
    return math.log(math.expm1(-MIN_LOG_SCALE))  # MIN_LOG_SCALE + softplus of it is 0


def component_rows(prior: GaussianMixture) -> Float[Array, "k f"]:
    """(log weight, mean, log diagonal and lower part of L) of each component."""
    d = prior.dimension
    diagonal = jnp.log(jnp.abs(jnp.diagonal(prior.scale_trils, axis1=1, axis2=2)))
    at = jnp.tril_indices(d, -1)
    parts = [prior.log_weights[:, None], prior.means, diagonal, prior.scale_trils[:, at[0], at[1]]]
    return jnp.concatenate(parts, axis=1)


@partial(Compiled, small=PASSES)
def _features(data: Any) -> tuple[Float[Array, "sets k f"], Float[Array, "sets n g"]]:
    components = jax.vmap(component_rows)(data["prior"])
    return components, jax.vmap(lambda o: rows(o, components.dtype)[0])(data["observed"])


def distribution_transformer(
    key: PRNGKey, data: Any, width: int = 32, blocks: int = 3, heads: int = 4
) -> DistributionTransformer:
    """An untrained network that gives back the prior; `data` are simulated, leading axis pairs.

    Raises `InputError` for sizes that do not fit.
    """
    keys = jax.random.split(key, 4)
    components, observed = _features(data)
    d, f = data["prior"].means.shape[-1], components.shape[-1]
    return DistributionTransformer(
        standard(components.reshape(-1, f)),
        standard(observed.reshape(-1, observed.shape[-1])),
        perceptron(keys[0], (f, width, width)),
        perceptron(keys[1], (observed.shape[-1], width, width)),
        transformer(keys[2], width, blocks, heads),
        perceptron(keys[3], (width, width, 1 + 2 * d + d * (d - 1) // 2), last=0.1),
        d,
    )
