"""The importance-weighted bound."""

from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, Float

from jensen.core import GradientEstimator
from jensen.gradient_estimators import Reparameterisation
from jensen.objectives._of_log_weights import OfLogWeights, check_weights, log_mean_exp


class ImportanceWeighted(OfLogWeights):
    """-E_{z_1..z_K ~ q}[log 1/K sum_k p(z_k, data) / q(z_k)], in nats; K = `num_weights`.

    Its negative is a lower bound on the log evidence, at least the ELBO, and rises to the log evidence with K. K = 1 is
    `NegativeElbo`. It fits q as a proposal: wider tails, mass covered, while single draws of q may be worse; the signal
    of the gradient to its noise falls as K^-1/2, unless the estimator is `DoublyReparameterised`. Cost: K times the
    draws of `estimator`. A minibatch biases it.

    Raises `InputError` for K < 1, or with `StickingTheLanding`, whose gradient is biased here.

    Source: Burda, Grosse and Salakhutdinov (2016); signal to noise: Rainforth et al. (2018).
    """

    bound: ClassVar[str | None] = "lower"
    num_weights: int = eqx.field(static=True, default=8)
    estimator: GradientEstimator = Reparameterisation(num_draws=4)

    def __check_init__(self):
        check_weights(self)

    def phi(self, log_w: Float[Array, " k"]) -> Float[Array, ""]:
        return -log_mean_exp(log_w)
