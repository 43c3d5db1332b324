"""The pathwise gradient."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Estimate, GradientEstimator, PRNGKey, Reparameterised
from jensen.gradient_estimators._draws import (
    Evaluated,
    Function,
    check_num_draws,
    draw_and_log_probs,
    draw_noise,
    over_draws,
    standard_error,
)
from jensen.gradient_estimators._replicated import check_family


class Reparameterisation(GradientEstimator):
    """grad E_q[f] = E_eps[grad f(q, z(eps))]: draws are functions of noise, and the gradient runs through both q and z.

    Unbiased for every f that is differentiable in z and q: a jump, as at the edge of a truncated density, is not seen
    along the path (`ScoreFunction` sees it). Cost: `num_draws` gradients of f.

    Raises `InputError` for fewer than one draw, or a family without noise.

    Source: Kingma and Welling (2014); Rezende, Mohamed and Wierstra (2014).
    """

    needs: ClassVar[type] = Reparameterised
    num_draws: int = eqx.field(static=True, default=16)

    def __check_init__(self):
        check_num_draws(self.num_draws)

    def expectation(self, key: PRNGKey, q: Any, f: Function) -> Estimate:
        check_family(self, q)

        def value(eps: Any) -> Float[Array, ""]:
            z, log_q = draw_and_log_probs(q, eps)
            return f(Evaluated(q, z, log_q), z)

        values = over_draws(value, draw_noise(key, q, self.num_draws))
        mean = jnp.mean(values)
        return Estimate(mean, mean, standard_error(values))
