"""The chi^n divergence of the posterior from q, and the upper bound on the evidence that belongs to it."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import GradientEstimator, Scalar, scalar_field
from jensen.gradient_estimators import Reparameterisation
from jensen.objectives._of_log_weights import OfLogWeights, check_setting, check_weights, log_mean_exp


class Cubo(OfLogWeights):
    """E[1/n log 1/K sum_k w_k^n], w = p(z_k, data) / q(z_k), an estimate of CUBO_n = 1/n log E_q[w^n], in nats.

    n = `order`, K = `num_weights`. CUBO_2 = log evidence + 1/2 log(1 + chi^2(posterior || q)). CUBO_n is at least the
    log evidence, but this estimate of it is too low by the logarithm of a mean of K draws, and by much where q is too
    narrow to see what it misses: it is no bound, and none is declared. Covers mass; q should begin wide. Cost: K times
    the draws of `estimator`. A minibatch biases it.

    Raises `InputError` for n < 1 (see `Renyi`, alpha = 1 - n), K < 1, or with `StickingTheLanding`.

    Source: Dieng, Tran, Ranganath, Paisley and Blei (2017).
    """

    bound: ClassVar[str | None] = None
    order: Scalar = scalar_field(2.0)
    num_weights: int = eqx.field(static=True, default=32)
    estimator: GradientEstimator = Reparameterisation(num_draws=2)

    def __check_init__(self):
        check_weights(self)
        check_setting("order", self.order, lambda n: n >= 1, "at least 1 (see Renyi, with alpha = 1 - order)")

    def phi(self, log_w: Float[Array, " k"]) -> Float[Array, ""]:
        return log_mean_exp(self.order * log_w) / self.order


class ChiDivergence(OfLogWeights):
    """E_q[(w / c)^n], w = p(z, data) / q(z), log c = `log_scale`: the exponentiated form, of which draws are unbiased.

    = (Z/c)^n (1 + chi^n(posterior || q)), Z the evidence. It has no unit; 1/n times its logarithm, plus log c, is
    CUBO_n, so that its exact value bounds the evidence from above, but neither its draws nor their logarithm do: no
    bound is declared. Choose log c near the log evidence, else it overflows or vanishes. The gradient's variance grows
    with chi^2n: begin near p, or use `Cubo`.

    Raises `InputError` for n < 1, or with `StickingTheLanding`.

    Source: Dieng, Tran, Ranganath, Paisley and Blei (2017).
    """

    bound: ClassVar[str | None] = None
    order: Scalar = scalar_field(2.0)
    log_scale: Scalar = scalar_field(0.0)
    estimator: GradientEstimator = Reparameterisation(num_draws=64)
    num_weights: int = eqx.field(static=True, default=1, init=False)

    def __check_init__(self):
        check_weights(self)
        check_setting("order", self.order, lambda n: n >= 1, "at least 1")

    def phi(self, log_w: Float[Array, " k"]) -> Float[Array, ""]:
        return jnp.exp(self.order * (log_w[0] - self.log_scale))
