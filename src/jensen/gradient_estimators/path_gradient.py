"""The path gradient by a recursion through the layers of a flow."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Estimate, GradientEstimator, PRNGKey
from jensen.families import Bijective
from jensen.gradient_estimators._doubly import doubly_reparameterised
from jensen.gradient_estimators._draws import Function, check_num_draws
from jensen.gradient_estimators._replicated import Replicated


class PathGradient(GradientEstimator):
    """grad E[phi(log w)] along the path alone, as `DoublyReparameterised`; grad log q comes from the forward pass.

    A layer x_(l+1) = T_l(x_l) carries g_l = grad log q_l(x_l) on: g_(l+1) = J_l^-T (g_l - grad log |det J_l|), so that
    no inverse pass is needed and none can lose digits. For the ELBO this is `StickingTheLanding` at less cost. A family
    gives the recursion by `Bijective.from_noise_and_score`; those that do not fall back on the inverse.

    Raises `InputError` for fewer than one draw, a family that is no bijection, or an objective that is no function of
    weights.

    Source: Vaitl, Winkler, Richter and Kessel (2024).
    """

    needs: ClassVar[type] = Bijective
    num_draws: int = eqx.field(static=True, default=16)

    def __check_init__(self):
        check_num_draws(self.num_draws)

    def expectation(self, key: PRNGKey, q: Any, f: Function) -> Estimate:
        return doubly_reparameterised(self, key, q, f, _by_recursion)


def _by_recursion(q: Any, eps: Any) -> tuple[Float[Array, " n"], Float[Array, " k"]]:
    still = jax.lax.stop_gradient(q)
    if isinstance(q, Replicated):
        _, log_q, score = still.from_noise_and_scores(eps)
    else:
        _, log_q, score = still.from_noise_and_score(eps)
        log_q = log_q[None]
    z = q.from_noise(eps)
    rows = (log_q.shape[0], -1)
    change = jnp.sum((score * (z - jax.lax.stop_gradient(z))).reshape(rows), axis=1)
    return z, jax.lax.stop_gradient(log_q) + change
