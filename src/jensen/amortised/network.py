"""An encoder and a head, built from simulated pairs."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float

from jensen.amortised.conditional import Encoded
from jensen.amortised.encoders import Vector
from jensen.amortised.heads import Mixture
from jensen.core import PRNGKey

VECTOR, MIXTURE = Vector(), Mixture()


@dataclasses.dataclass(frozen=True)
class Network:
    """Builds an `Encoded`, q(z | data) = head(encoder(data)), with sizes and units from the pairs given.

    What `neural_posterior` makes of 2,000 simulations of its own, for `amortise` to build from those of its budget.
    Beside `Regression` in a list it is chosen where posteriors are far from linear in the data.
    """

    encoder: Any = VECTOR
    head: Any = MIXTURE

    def build(self, key: PRNGKey, z: Float[Array, "sets d"], data: Any) -> Encoded:
        """`z`, `data`: simulated pairs, leading axis pairs."""
        key_encoder, key_head = jax.random.split(key)
        return encoded(key_encoder, key_head, self.encoder, self.head, z, data)


def encoded(key_encoder: PRNGKey, key_head: PRNGKey, encoder: Any, head: Any, z: Array, data: Any) -> Encoded:
    """An `Encoded` of what these builders make of pairs, leading axis pairs."""
    made = encoder.build(key_encoder, data)
    context = eqx.filter_eval_shape(made, jax.tree.map(lambda a: a[0], data)).shape[0]
    return Encoded(made, head.build(key_head, z, context))
