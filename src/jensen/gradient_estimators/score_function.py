"""The score-function gradient."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Density, Estimate, GradientEstimator, PRNGKey, spread
from jensen.gradient_estimators._draws import Function, check_num_draws, standard_error
from jensen.gradient_estimators._replicated import check_family


class ScoreFunction(GradientEstimator):
    """grad E_q[f] = E_q[(f(q, z) - b) grad log q(z) + grad_theta f(q, z)], b_i the mean of f at the other draws.

    Asks of q only draws and a log density: it takes mixtures, discrete q, and an f that is not differentiable in z.
    Unbiased, for b_i does not depend on z_i. Its variance grows with d; where q is reparameterised prefer that. Cost:
    `num_draws` values of f and gradients of log q.

    Raises `InputError` for fewer than two draws, or a family without a density.

    Source: Williams (1992); leave-one-out baseline: Kool, van Hoof and Welling (2019).
    """

    needs: ClassVar[type] = Density
    num_draws: int = eqx.field(static=True, default=64)

    def __check_init__(self):
        check_num_draws(self.num_draws, least=2)

    def expectation(self, key: PRNGKey, q: Any, f: Function) -> Estimate:
        check_family(self, q)
        n = self.num_draws

        def value(key: PRNGKey) -> tuple[Float[Array, ""], Float[Array, ""]]:
            z = jax.lax.stop_gradient(q.sample(key))
            return f(q, z), q.log_prob(z)

        values, log_q = jax.vmap(value)(spread(jax.random.split(key, n)))
        fixed = jax.lax.stop_gradient(values)
        baseline = (jnp.sum(fixed) - fixed) / (n - 1)
        surrogate = jnp.mean(values + (fixed - baseline) * log_q)
        return Estimate(jnp.mean(fixed), surrogate, standard_error(fixed))
