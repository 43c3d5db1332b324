"""The evidence lower bound of an implicit distribution, its entropy linearised."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Estimate, InputError, LogDensity, Objective, PRNGKey
from jensen.gradient_estimators._draws import check_num_draws, draw_noise, standard_error


class LinearisedElbo(Objective):
    """-E_q[log p(z, data)] - H~(q), H~ = d/2 (1 + log 2 pi) + E_e 1/2 log det(J J^T + sigma^2 I), in nats.

    J = dg/de is the Jacobian of the network of an `Implicit` family. Exact for an affine g. It is no bound on the
    evidence: H~ exceeds the entropy where g folds, by log 2 for g(e) = |e|. Cost: `num_draws` gradients of log p, and k
    forward derivatives of g each.

    Raises `InputError` for another family than `Implicit`, or fewer than one draw.

    Source: Uppal, Stensbo-Smidt, Boomsma and Frellsen (2023).
    """

    needs: ClassVar[Any] = LogDensity
    bound: ClassVar[str | None] = None
    num_draws: int = eqx.field(static=True, default=16)

    def __check_init__(self):
        check_num_draws(self.num_draws)

    def loss(self, key: PRNGKey, q: Any, target: Any) -> Estimate:
        if not hasattr(q, "linearised"):
            raise InputError(
                f"LinearisedElbo needs an Implicit family, and {type(q).__name__} has no linearised entropy: use "
                "NegativeElbo"
            )

        def value(eps: Any) -> Float[Array, ""]:
            z, minus_entropy = q.linearised(eps)
            return minus_entropy - target.log_density(z)

        values = jax.vmap(value)(draw_noise(key, q, self.num_draws))
        mean = jnp.mean(values)
        return Estimate(mean, mean, standard_error(values))
