"""The importance-weighted bound."""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
from jaxtyping import Array, Float

from jensen.core import Estimate, GradientEstimator, InputError, LogDensity, Objective, PRNGKey
from jensen.gradient_estimators import Reparameterisation, StickingTheLanding
from jensen.objectives._replicated import Replicated


class ImportanceWeighted(Objective):
    """-E_{z_1..z_K ~ q}[log 1/K sum_k p(z_k, data) / q(z_k)], in nats; K = `num_weights`.

    Its negative is a lower bound on the log evidence, at least the ELBO, and rises to the log evidence with K. K = 1 is
    `NegativeElbo`. It fits q as a proposal: wider tails, mass covered, while single draws of q may be worse; the signal
    of the gradient to its noise falls as K^-1/2. Cost: K times the draws of `estimator`. A minibatch biases it.

    Raises `InputError` for K < 1, or with `StickingTheLanding`, whose gradient is biased here.

    Source: Burda, Grosse and Salakhutdinov (2016); signal to noise: Rainforth et al. (2018).
    """

    needs: ClassVar[Any] = LogDensity
    bound: ClassVar[str | None] = "lower"
    num_weights: int = eqx.field(static=True, default=8)
    estimator: GradientEstimator = Reparameterisation(num_draws=4)

    def __check_init__(self):
        if self.num_weights < 1:
            raise InputError(f"num_weights must be at least 1, got {self.num_weights}")
        if isinstance(self.estimator, StickingTheLanding):
            raise InputError("StickingTheLanding is biased for an importance-weighted bound: use Reparameterisation")

    def loss(self, key: PRNGKey, q: Any, target: Any) -> Estimate:
        def bound(qs: Any, flat: Float[Array, " n"]) -> Float[Array, ""]:
            z = qs.split(flat)
            log_weights = jax.vmap(target.log_density)(z) - jax.vmap(qs.q.log_prob)(z)
            return math.log(self.num_weights) - jax.nn.logsumexp(log_weights)

        return self.estimator.expectation(key, Replicated(q, self.num_weights), bound)
