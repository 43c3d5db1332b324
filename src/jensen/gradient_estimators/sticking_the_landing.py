"""The pathwise gradient without the score term."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Estimate, GradientEstimator, PRNGKey, Reparameterised
from jensen.gradient_estimators._draws import (
    Evaluated,
    Function,
    check_num_draws,
    draw_and_log_probs,
    draw_noise,
    log_probs,
    over_draws,
    standard_error,
)
from jensen.gradient_estimators._replicated import check_family


class StickingTheLanding(GradientEstimator):
    """grad E_q[f(q, z)] = E_eps[(grad_theta z(eps))^T d f(q, z) / d z]: parameters of q inside f are held constant.

    Unbiased where E_q[grad_theta f(q, z)] at fixed z is zero: for f = log q(z) - log p(z), since the score has mean
    zero, and then of variance zero where q = p. Biased for other f (an importance-weighted bound, a variance): there
    `DoublyReparameterised` keeps the property. Cost: `num_draws` gradients of f, and of a flow also an inverse pass a
    draw, which `PathGradient` saves.

    Raises `InputError` for fewer than one draw, or a family without noise.

    Source: Roeder, Wu and Duvenaud (2017).
    """

    needs: ClassVar[type] = Reparameterised
    num_draws: int = eqx.field(static=True, default=16)

    def __check_init__(self):
        check_num_draws(self.num_draws)

    def expectation(self, key: PRNGKey, q: Any, f: Function) -> Estimate:
        check_family(self, q)
        still = jax.lax.stop_gradient(q)

        def value(eps: Any) -> Float[Array, ""]:
            z, log_q = draw_and_log_probs(q, eps)
            path = log_probs(still, z)
            # the value of the forward pass, the gradient of the inverse one: a flow whose inverse loses digits must not
            # make its own objective look better
            log_q = jax.lax.stop_gradient(log_q - path) + path
            return f(Evaluated(still, z, log_q), z)

        values = over_draws(value, draw_noise(key, q, self.num_draws))
        mean = jnp.mean(values)
        return Estimate(mean, mean, standard_error(values))
