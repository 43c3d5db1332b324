"""The doubly reparameterised gradient."""

from typing import Any, ClassVar

import equinox as eqx
import jax
from jaxtyping import Array, Float

from jensen.core import Estimate, GradientEstimator, PRNGKey, Reparameterised
from jensen.gradient_estimators._doubly import doubly_reparameterised
from jensen.gradient_estimators._draws import Function, check_num_draws, draw_and_log_probs, log_probs


class DoublyReparameterised(GradientEstimator):
    """grad E[phi(log w)] = E_eps[sum_k (phi_k - phi_kk) (grad_theta z_k)^T grad_z log w_k], phi of K log weights.

    phi_k and phi_kk are its first and second derivatives by log w_k. For the importance-weighted bound the coefficients
    are minus the squared normalised weights, for an f-divergence -f''(r) r^2, for the ELBO those of
    `StickingTheLanding`. Unbiased for every phi; zero where q = p; its signal-to-noise ratio does not fall with K as
    that of `Reparameterisation` does. Parameters of p in which the objective is differentiated too have phi_k. Not
    always the better one far from the optimum. Cost: `num_draws` K gradients of log p and of log q, and of a flow an
    inverse pass a draw, which `PathGradient` saves.

    Raises `InputError` for fewer than one draw, a family without noise, or an objective that is no function of weights.

    Source: Tucker, Lawson, Gu and Maddison (2019).
    """

    needs: ClassVar[type] = Reparameterised
    num_draws: int = eqx.field(static=True, default=16)

    def __check_init__(self):
        check_num_draws(self.num_draws)

    def expectation(self, key: PRNGKey, q: Any, f: Function) -> Estimate:
        return doubly_reparameterised(self, key, q, f, _by_inverse)


def _by_inverse(q: Any, eps: Any) -> tuple[Float[Array, " n"], Float[Array, " k"]]:
    z, log_q = draw_and_log_probs(q, eps)
    path = log_probs(jax.lax.stop_gradient(q), z)
    return z, jax.lax.stop_gradient(log_q - path) + path
