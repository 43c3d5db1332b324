"""The score-function gradient of functions of several weights, each draw with a baseline made of the others."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Density, Estimate, GradientEstimator, InputError, PRNGKey, spread
from jensen.gradient_estimators._draws import Function, check_num_draws, log_probs, standard_error
from jensen.gradient_estimators._replicated import check_family
from jensen.gradient_estimators.of_weights import OfWeights


class VIMCO(GradientEstimator):
    """grad E[phi(log w)] = E[sum_k (phi(log w) - phi(log w^(k))) grad log q(z_k) + grad_theta phi(log w)].

    log w^(k) are the K log weights with the k-th replaced by the mean of the others, so that its phi is a guess of what
    phi would have been without z_k: a baseline of each draw's own, free of it and of parameters to learn. Unbiased for
    every phi. Asks of q only draws and a log density: for discrete sites under `ImportanceWeighted` and other
    objectives of K >= 2 weights, where a plain score function blames every draw for all of them. Where q is
    reparameterised `DoublyReparameterised` has far less variance; where sites can be enumerated, `PerSite`. Cost:
    `num_draws` K values of log p and gradients of log q, and phi of K^2 numbers.

    Raises `InputError` for fewer than one draw, a family without a density, an objective that is no function of
    weights, or one of a single weight.

    Source: Mnih and Rezende (2016).
    """

    needs: ClassVar[type] = Density
    num_draws: int = eqx.field(static=True, default=8)

    def __check_init__(self):
        check_num_draws(self.num_draws)

    def expectation(self, key: PRNGKey, q: Any, f: Function) -> Estimate:
        check_family(self, q)
        if not isinstance(f, OfWeights) or f.num_weights < 2:
            raise InputError(
                "VIMCO compares weights with one another, so that it needs an objective of at least two, such as "
                "ImportanceWeighted(num_weights=8): use ScoreFunction"
            )

        def value(key: PRNGKey) -> tuple[Float[Array, ""], Float[Array, ""]]:
            z = jax.lax.stop_gradient(q.sample(key))
            log_q = log_probs(q, z)
            log_w = f.log_densities(z) - log_q
            cost = f.phi(log_w)
            fixed = jax.lax.stop_gradient(cost)
            gain = fixed - _without_each(f.phi, jax.lax.stop_gradient(log_w))
            return fixed, cost + jnp.vdot(gain, log_q)

        values, surrogates = jax.vmap(value)(spread(jax.random.split(key, self.num_draws)))
        return Estimate(jnp.mean(values), jnp.mean(surrogates), standard_error(values))


def _without_each(phi: Any, log_w: Float[Array, " k"]) -> Float[Array, " k"]:
    """phi with each log weight in turn replaced by the mean of the others."""
    k = log_w.shape[0]
    own = jnp.eye(k, dtype=bool)
    # a sum over the others, not the sum of all less one's own: where p is zero that would be -inf - (-inf)
    others = jnp.sum(jnp.where(own, 0.0, log_w), axis=1) / (k - 1)
    guess = jax.vmap(phi)(jnp.where(own, others[:, None], log_w))
    # where the others say nothing finite any number that does not depend on z_k will do
    return jnp.where(jnp.isfinite(guess), guess, 0.0)
