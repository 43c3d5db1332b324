"""The variational Renyi bound."""

from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, Float

from jensen.core import GradientEstimator, Scalar, scalar_field
from jensen.gradient_estimators import Reparameterisation
from jensen.objectives._of_log_weights import OfLogWeights, check_setting, check_weights, log_mean_exp


class Renyi(OfLogWeights):
    """-E[1/(1 - a) log 1/K sum_k w_k^(1 - a)], w = p(z_k, data) / q(z_k), a = `alpha` >= 0, K = `num_weights`; in nats.

    As K grows, Renyi's divergence D_a(q || posterior) less the log evidence. Its negative is a lower bound on the log
    evidence for every K: a power mean of the weights with exponent 1 - a <= 1 is at most their mean, so that the bound
    is at most the importance-weighted one, which is a = 0. a -> 1 is the ELBO, a > 1 seeks modes more than it does; for
    a < 0 see `Cubo`, n = 1 - a. Cost: K times the draws of `estimator`. A minibatch biases it.

    Raises `InputError` for alpha < 0 or = 1, K < 1, or with `StickingTheLanding`.

    Source: Li and Turner (2016).
    """

    bound: ClassVar[str | None] = "lower"
    alpha: Scalar = scalar_field(0.5)
    num_weights: int = eqx.field(static=True, default=16)
    estimator: GradientEstimator = Reparameterisation(num_draws=4)

    def __check_init__(self):
        check_weights(self)
        check_setting("alpha", self.alpha, lambda a: a >= 0, "at least 0 (see Cubo, with order = 1 - alpha)")
        check_setting("alpha", self.alpha, lambda a: abs(a - 1) > 1e-4, "other than 1, where it is NegativeElbo")

    def phi(self, log_w: Float[Array, " k"]) -> Float[Array, ""]:
        return -log_mean_exp((1 - self.alpha) * log_w) / (1 - self.alpha)
